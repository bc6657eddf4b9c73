"""Energies H(z) on phase space and their gradients. z = (q, p): q is the first half, p the second."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import nn

from ..runs.checks import whole_number
from .saved import SavedModel
from .softplus import softplus


class Hamiltonian(nn.Module):
    """A scalar energy. Subclasses define `forward(z)`: (…, D) → (…); gradients come by autograd.

    `separable` declares H(q, p) = T(p) + V(q), for which the explicit leapfrog is symplectic. Bodies
    are (q₁ … q_N, p₁ … p_N), so that q and p stay halves: `forward` sees them by `unflatten`.
    """

    separable = False

    def gradient(self, z):
        """∇H = (∂H/∂q, ∂H/∂p): (…, D) → (…, D), itself differentiable, also by torch.func's transforms."""
        if torch.is_inference_mode_enabled():
            raise ValueError("gradients of H need autograd: use torch.no_grad(), not torch.inference_mode()")
        with torch.enable_grad():
            # The gradient at z is wanted in no_grad mode too, and for a z that is itself a result.
            try:
                leaf = z.detach().requires_grad_()
            except RuntimeError:  # within a transform of torch.func, which has a gradient of its own
                return torch.func.grad(lambda z: self(z).sum())(z)
            z = z if z.requires_grad else leaf
            return torch.autograd.grad(self(z).sum(), z, create_graph=True)[0]

    def gradient_q(self, z):
        """∂H/∂q: (…, D) → (…, D/2)."""
        return self.gradient(z)[..., : z.shape[-1] // 2]

    def gradient_p(self, z):
        """∂H/∂p: (…, D) → (…, D/2)."""
        return self.gradient(z)[..., z.shape[-1] // 2 :]

    def network_parameters(self) -> list[torch.Tensor] | None:
        """W₁, b₁, W₂, b₂, … where H is `HNN`'s network and nothing else, for `fast_rollout`; else None."""
        return None


class Forced(Hamiltonian):
    """H(q, p) - f·q, the energy under a force f on p that is held: f (…, D/2)."""

    def __init__(self, hamiltonian, force):
        super().__init__()
        self.hamiltonian, self.force, self.separable = hamiltonian, force, hamiltonian.separable

    def forward(self, z):
        return self.hamiltonian(z) - (self.force * z[..., : z.shape[-1] // 2]).sum(dim=-1)

    def gradient(self, z):
        return torch.cat([self.gradient_q(z), self.gradient_p(z)], dim=-1)

    def gradient_q(self, z):
        return self.hamiltonian.gradient_q(z) - self.force

    def gradient_p(self, z):
        return self.hamiltonian.gradient_p(z)


class SoftplusNetwork(nn.Module):
    """A softplus MLP with one output: `forward(x)`: (…, n) → (…), n at least 1; a gradient in closed form.

    Softplus' derivative is the sigmoid. Weights start xavier-normal with gain 0.5 and zero bias.
    """

    def __init__(self, width, hidden_dims):
        super().__init__()
        linear = (nn.Linear(a, b) for a, b in pairwise((width, *hidden_dims, 1)))
        self.layers = cast(Sequence[nn.Linear], nn.ModuleList(linear))
        for layer in self.layers:
            nn.init.xavier_normal_(layer.weight, gain=0.5)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        return self.layers[-1](softplus(self._preactivations(x)[-1])).squeeze(-1)

    def gradient(self, z):
        """∂/∂z: (…, n) → (…, n)."""
        return self._gradient_at_first_layer(z) @ self.layers[0].weight

    def _preactivations(self, x):
        """W_k h_{k-1} + b_k for every hidden layer k."""
        first, *hidden, _ = self.layers  # a slice of a ModuleList would be a new one, each time
        preactivations = [first(check_state(x, first.weight.shape[1], like=first.weight))]
        for layer in hidden:
            preactivations.append(layer(softplus(preactivations[-1])))
        return preactivations

    def _gradient_at_first_layer(self, x):
        """∂H/∂(W₁x + b₁): (…, n) → (…, hidden_dims[0]); the gradient is this times W₁."""
        slopes = [torch.sigmoid(a) for a in self._preactivations(x)]
        _, *hidden, last = self.layers
        gradient = last.weight[0] * slopes[-1]
        for layer, slope in zip(hidden[::-1], slopes[-2::-1], strict=True):
            gradient = (gradient @ layer.weight) * slope
        return gradient


class HNN(SoftplusNetwork, Hamiltonian, SavedModel):
    """The paper's H(q, p): a softplus MLP with one output (eq. 2), not separable.

    `forward(z)`: (…, D) → (…); `gradient(z)`: (…, D) → (…, D) in closed form. Weights start as
    published, xavier-normal with gain 0.5 and zero bias; the field is then almost zero.
    919,041 parameters at D = 1024. Raises `ValueError` for an odd `latent_dim` and for a z of another
    width or dtype.
    """

    def __init__(self, latent_dim=1024, hidden_dims=(512, 512, 256)):
        self_dims = even_dim(latent_dim), whole_numbers(hidden_dims)
        super().__init__(*self_dims)
        self.latent_dim, self.hidden_dims = self_dims

    def config(self):
        return {"latent_dim": self.latent_dim, "hidden_dims": list(self.hidden_dims)}

    def gradient_q(self, z):
        return self._gradient_at_first_layer(z) @ self.layers[0].weight[:, : self.latent_dim // 2]

    def gradient_p(self, z):
        return self._gradient_at_first_layer(z) @ self.layers[0].weight[:, self.latent_dim // 2 :]

    def network_parameters(self):
        """None for a subclass that computes H or its gradient in another way."""
        if any(getattr(type(self), name) is not getattr(HNN, name) for name in _FORMULAS):
            return None
        return [p for layer in self.layers for p in (layer.weight, layer.bias)]


_FORMULAS = (
    "forward", "gradient", "gradient_q", "gradient_p", "_preactivations", "_gradient_at_first_layer",
)  # fmt: skip


class SeparableHNN(Hamiltonian, SavedModel):
    """H(q, p) = T(p) + V(q), a `SoftplusNetwork` each: leapfrog on it is symplectic.

    Shapes, initialisation and errors as `HNN`; any even D.
    """

    separable = True

    def __init__(self, latent_dim=1024, hidden_dims=(512, 512, 256)):
        super().__init__()
        self.latent_dim, self.hidden_dims = even_dim(latent_dim), whole_numbers(hidden_dims)
        self.potential = SoftplusNetwork(self.latent_dim // 2, self.hidden_dims)
        self.kinetic = SoftplusNetwork(self.latent_dim // 2, self.hidden_dims)

    @classmethod
    def of_size(cls, latent_dim, n_parameters):
        """Hidden widths (2K, 2K, K), K as large as `n_parameters` allow: it takes 12K² + 2(D + 6)K + 2.

        `ValueError` if K < 1.
        """
        b = latent_dim + 6
        if not n_parameters >= 14 + 2 * b:
            raise ValueError(
                f"a separable energy of width {latent_dim} needs {14 + 2 * b} parameters, got {n_parameters}"
            )
        width = int((math.sqrt(b * b + 12 * (n_parameters - 2)) - b) / 12)
        return cls(latent_dim, (2 * width, 2 * width, width))

    def config(self):
        return {"latent_dim": self.latent_dim, "hidden_dims": list(self.hidden_dims)}

    def forward(self, z):
        q, p = check_state(z, self.latent_dim).chunk(2, dim=-1)
        return self.kinetic(p) + self.potential(q)

    def gradient(self, z):
        return torch.cat([self.gradient_q(z), self.gradient_p(z)], dim=-1)

    def gradient_q(self, z):
        return self.potential.gradient(check_state(z, self.latent_dim)[..., : self.latent_dim // 2])

    def gradient_p(self, z):
        return self.kinetic.gradient(check_state(z, self.latent_dim)[..., self.latent_dim // 2 :])


class FeatureHamiltonian(Hamiltonian):
    """H(z) = network(features(z)), with gradients by autograd: (…, D) → (…)."""

    def __init__(self, network, features):
        super().__init__()
        self.network, self.features = network, features

    def forward(self, z):
        return self.network(self.features(z))


def fourier_features(z, frequencies=(1.0, 2.0, 4.0)):
    """z and, for each frequency k (in radians per unit of z), sin kz and cos kz: (…, D) → (…, 7 D)."""
    return torch.cat([z, *(wave(k * z) for k in frequencies for wave in (torch.sin, torch.cos))], dim=-1)


def velocity(hamiltonian, z):
    """Hamilton's vector field J∇H = (∂H/∂p, -∂H/∂q): (…, D) → (…, D)."""
    even_dim(z.shape[-1])
    dh_dq, dh_dp = hamiltonian.gradient(z).chunk(2, dim=-1)
    return torch.cat([dh_dp, -dh_dq], dim=-1)


def even_dim(latent_dim):
    """D as a plain integer. `ValueError` unless it is even and at least 2, `TypeError` if it is none."""
    latent_dim = whole_number(latent_dim, "the width of z")
    if latent_dim < 2 or latent_dim % 2:
        raise ValueError(f"z = (q, p) needs an even number of dimensions, got {latent_dim}")
    return latent_dim


def whole_numbers(widths):
    """Widths of layers as plain integers. `ValueError` for one below 1, `TypeError` for what is none."""
    if not isinstance(widths, Iterable):
        raise TypeError(f"hidden layers need one width each, such as (512, 256), got {widths!r}")
    widths = tuple(whole_number(width, "the width of a layer") for width in widths)
    if not widths or min(widths) < 1:
        raise ValueError(f"layers need widths of 1 or more, got {widths}")
    return widths


def check_state(z, width=None, *, like=None):
    """z itself, (…, width) in the dtype of `like`. `ValueError` or `TypeError` otherwise."""
    if not isinstance(z, torch.Tensor):
        raise TypeError(f"z must be a torch tensor, got {type(z).__name__}: use torch.as_tensor(z)")
    if width is None:
        even_dim(z.shape[-1] if z.ndim else 0)
    elif z.ndim == 0 or z.shape[-1] != width:
        raise ValueError(f"this model takes z of width {width}, got {tuple(z.shape)}")
    if like is not None and z.dtype != like.dtype:
        raise ValueError(f"this model computes in {like.dtype}, got z in {z.dtype}: use z.to({like.dtype})")
    return z
