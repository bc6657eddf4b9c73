"""Energies H(z) on phase space and their gradients. z = (q, p): q is the first half, p the second."""

import math
from contextlib import redirect_stdout
from itertools import pairwise
from pathlib import Path

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import nn

from .softplus import softplus


class Hamiltonian(nn.Module):
    """A scalar energy. Subclasses define `forward(z)`: (…, D) → (…); gradients come by autograd.

    `separable` declares H(q, p) = T(p) + V(q), for which the explicit leapfrog is symplectic.
    """

    separable = False

    def gradient(self, z):
        """∇H = (∂H/∂q, ∂H/∂p): (…, D) → (…, D), itself differentiable."""
        with torch.enable_grad():
            # The gradient at z is wanted in no_grad mode too, and for a z that is itself a result.
            z = z if z.requires_grad else z.detach().requires_grad_()
            return torch.autograd.grad(self(z).sum(), z, create_graph=True)[0]

    def gradient_q(self, z):
        """∂H/∂q: (…, D) → (…, D/2)."""
        return self.gradient(z)[..., : z.shape[-1] // 2]

    def gradient_p(self, z):
        """∂H/∂p: (…, D) → (…, D/2)."""
        return self.gradient(z)[..., z.shape[-1] // 2 :]


class SavedModel(PyTorchModelHubMixin):
    """`save_pretrained(folder)` and `from_pretrained(folder)`: safetensors plus json.

    The mixin alone loads whatever fits and leaves the rest random; a checkpoint of another model is
    a `RuntimeError` here, and a folder that is not there a `FileNotFoundError`, not a hub look-up.
    """

    @classmethod
    def from_pretrained(cls, folder, **options):
        if not (Path(folder) / "model.safetensors").is_file():
            raise FileNotFoundError(f"no saved model in {folder}")
        with redirect_stdout(None):  # the mixin announces every load
            return super().from_pretrained(folder, **{"strict": True, **options})


class HNN(Hamiltonian, SavedModel):
    """The paper's H(q, p): a softplus MLP with one output (eq. 2), not separable.

    `forward(z)`: (…, D) → (…); `gradient(z)`: (…, D) → (…, D) in closed form, softplus' derivative
    being the sigmoid. Weights start xavier-normal with gain 0.5 and zero bias, as published; the
    field is then almost zero. 919,041 parameters at D = 1024.
    Raises `ValueError` for an odd `latent_dim` and for a z of another width.
    """

    def __init__(self, latent_dim=1024, hidden_dims=(512, 512, 256)):
        super().__init__()
        self.latent_dim = even_dim(latent_dim)
        widths = (latent_dim, *hidden_dims, 1)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        for layer in self.layers:
            nn.init.xavier_normal_(layer.weight, gain=0.5)
            nn.init.zeros_(layer.bias)

    def forward(self, z):
        return self.layers[-1](softplus(self._preactivations(z)[-1])).squeeze(-1)

    def gradient(self, z):
        return self._gradient_at_first_layer(z) @ self.layers[0].weight

    def gradient_q(self, z):
        return self._gradient_at_first_layer(z) @ self.layers[0].weight[:, : self.latent_dim // 2]

    def gradient_p(self, z):
        return self._gradient_at_first_layer(z) @ self.layers[0].weight[:, self.latent_dim // 2 :]

    def _preactivations(self, z):
        """W_k h_{k-1} + b_k for every hidden layer k."""
        preactivations = [self.layers[0](check_width(z, self.latent_dim))]
        for layer in self.layers[1:-1]:
            preactivations.append(layer(softplus(preactivations[-1])))
        return preactivations

    def _gradient_at_first_layer(self, z):
        """∂H/∂(W₁z + b₁): (…, D) → (…, hidden_dims[0]); ∇H is this times W₁."""
        slopes = [torch.sigmoid(a) for a in self._preactivations(z)]
        gradient = self.layers[-1].weight[0] * slopes[-1]
        for layer, slope in zip(self.layers[-2:0:-1], slopes[-2::-1], strict=True):
            gradient = (gradient @ layer.weight) * slope
        return gradient


class SeparableHNN(Hamiltonian, SavedModel):
    """H(q, p) = T(p) + V(q), each an `HNN` over half the latent: leapfrog on it is symplectic.

    Shapes, initialisation and errors as `HNN`; D must be a multiple of 4, because T and V are
    themselves `HNN`s of width D/2.
    """

    separable = True

    def __init__(self, latent_dim=1024, hidden_dims=(512, 512, 256)):
        super().__init__()
        self.latent_dim = even_dim(latent_dim)
        if latent_dim % 4:
            raise ValueError(
                f"T(p) and V(q) are HNNs of width D/2: D must be a multiple of 4, got {latent_dim}"
            )
        self.potential = HNN(latent_dim // 2, hidden_dims)
        self.kinetic = HNN(latent_dim // 2, hidden_dims)

    @classmethod
    def of_size(cls, latent_dim, n_parameters):
        """Hidden widths (2K, 2K, K), K as large as `n_parameters` allow: it takes 12K² + 2(D + 6)K + 2."""
        b = latent_dim + 6
        width = int((math.sqrt(b * b + 12 * (n_parameters - 2)) - b) / 12)
        return cls(latent_dim, (2 * width, 2 * width, width))

    def forward(self, z):
        q, p = check_width(z, self.latent_dim).chunk(2, dim=-1)
        return self.kinetic(p) + self.potential(q)

    def gradient(self, z):
        return torch.cat([self.gradient_q(z), self.gradient_p(z)], dim=-1)

    def gradient_q(self, z):
        return self.potential.gradient(check_width(z, self.latent_dim)[..., : self.latent_dim // 2])

    def gradient_p(self, z):
        return self.kinetic.gradient(check_width(z, self.latent_dim)[..., self.latent_dim // 2 :])


def even_dim(latent_dim):
    if latent_dim < 2 or latent_dim % 2:
        raise ValueError(f"z = (q, p) needs an even number of dimensions, got {latent_dim}")
    return latent_dim


def check_width(z, latent_dim):
    if z.shape[-1] != latent_dim:
        raise ValueError(f"this model takes z of width {latent_dim}, got {tuple(z.shape)}")
    return z


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
