"""What a Hamiltonian network must beat, and what may limit it; all have one `rollout(z0, n_steps)`.

The paper's own models and the classes of two floors are in `dynamics`.
"""

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.parametrizations import orthogonal

from .dynamics import BaselineMLP, HamiltonianDynamics, Persistence, TrainingMean
from .evaluation import rollout_errors
from .hamiltonian import HNN, Hamiltonian, check_width
from .integrators import leapfrog_step, repeat, runge_kutta_4
from .windows import make_windows


def n_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def paper_arms(dim):
    """{arm: builder} of the paper's two models and the residual MLP that its comparison lacks."""
    return {
        "HNN": lambda: HamiltonianDynamics(HNN(dim)),
        "Baseline MLP": lambda: BaselineMLP(dim),
        "residual MLP": lambda: BaselineMLP(dim, residual=True),
    }


def floors(windows):
    """{name: [predictor]} of what needs no training, for `LatentWindows`."""
    mean = windows.train.flatten(0, 1).mean(dim=0)
    return {"training mean": [TrainingMean(mean)], "persistence": [Persistence()]}


def extrapolation_errors(latents, length):
    """ẑ_t = z_0 + t (z_0 - z_{-1}): MSE of all windows of (n_videos, n_clips, D), (n_windows, length - 1).

    It sees one embedding more than the others. A video's first has none before it and stays.
    """
    previous = torch.cat([latents[:, :1], latents[:, :-1]], dim=1)
    now, before = (make_windows(part, length).flatten(0, 1) for part in (latents, previous))
    steps = torch.arange(length, device=latents.device)[:, None]
    predicted = now[:, :1] + steps * (now[:, :1] - before[:, :1])
    return (predicted - now)[:, 1:].square().mean(dim=-1).cpu().numpy()


def principal_directions(latents):
    """Orthogonal (D, D): columns from the largest variance of latents (…, D) about 0 to the smallest."""
    flat = latents.flatten(0, -2).double()
    return torch.linalg.eigh(flat.T @ flat).eigenvectors.flip(1).to(latents)


class LinearMap(nn.Module):
    """ẑ_{t+1} = ẑ_t A, the one-step map of dynamic mode decomposition; `matrix` is A, (D, D)."""

    def __init__(self, matrix):
        super().__init__()
        self.register_buffer("matrix", matrix)

    @classmethod
    def fitted_to(cls, latents, rank):
        """A = X⁺Y over all neighbours, X⁺ with `rank` singular values (Tu et al., 2014, exact DMD).

        `latents`: (n_videos, n_clips, D), standardised. Raises `ValueError` for a rank not in 1 … D.
        """
        if not 1 <= rank <= latents.shape[-1]:
            raise ValueError(f"the rank must lie between 1 and {latents.shape[-1]}, got {rank}")
        now, following = latents[:, :-1].flatten(0, 1).double(), latents[:, 1:].flatten(0, 1).double()
        u, s, vt = torch.linalg.svd(now, full_matrices=False)
        matrix = vt[:rank].T @ ((u[:, :rank].T @ following) / s[:rank, None])
        return cls(matrix.to(latents.dtype))

    def rollout(self, z0, n_steps):
        return repeat(lambda z: z @ self.matrix, z0, n_steps)


def best_rank(latents, ranks, *, length=16, n_folds=5):
    """The rank whose `LinearMap` predicts training videos it was not fitted to best, over a window.

    `latents`: (n_videos, n_clips, D), training videos only; every `n_folds`-th is left out in turn.
    """

    def error(rank):
        folds = (torch.arange(len(latents)) % n_folds == k for k in range(n_folds))
        maps = ((LinearMap.fitted_to(latents[~left_out], rank), latents[left_out]) for left_out in folds)
        return sum(rollout_errors(m, make_windows(videos, length)).mean().item() for m, videos in maps)

    return min(ranks, key=error)


class GRU(nn.Module):
    """h_0 = tanh(W z_0); h_{t+1} = GRU(ẑ_t, h_t), ẑ_{t+1} = ẑ_t + V h_{t+1} (Cho et al., 2014)."""

    def __init__(self, latent_dim, hidden_dim):
        super().__init__()
        self.latent_dim = latent_dim
        self.start = nn.Linear(latent_dim, hidden_dim)
        self.cell = nn.GRUCell(latent_dim, hidden_dim)
        self.change = nn.Linear(hidden_dim, latent_dim)

    @classmethod
    def of_size(cls, latent_dim, n_parameters):
        """As wide as `n_parameters` allow: K hidden units take 3K² + (5D + 7)K + D. `ValueError` if K < 1."""
        b = 5 * latent_dim + 7
        if n_parameters < 3 + b + latent_dim:
            raise ValueError(f"a GRU for z of width {latent_dim} needs more than {n_parameters} parameters")
        return cls(latent_dim, int((math.sqrt(b * b + 12 * (n_parameters - latent_dim)) - b) / 6))

    def rollout(self, z0, n_steps):
        if n_steps < 0:
            raise ValueError(f"n_steps must not be negative, got {n_steps}")
        flat = check_width(z0, self.latent_dim).reshape(-1, self.latent_dim)
        states, hidden = [flat], torch.tanh(self.start(flat))
        for _ in range(n_steps):
            hidden = self.cell(states[-1], hidden)
            states.append(states[-1] + self.change(hidden))
        return torch.stack(states, dim=-2).reshape(*z0.shape[:-1], n_steps + 1, self.latent_dim)


class NeuralODE(nn.Module):
    """ż = f(z) with an unconstrained softplus MLP f, one RK4 step an embedding (Chen et al., 2018).

    With the baseline MLP's widths its four evaluations take four times the MLP's multiply–adds; the
    three half gradients of a leapfrog step take 5.8 times (D = 192) or 3.0 times (D = 1024).
    """

    def __init__(self, latent_dim, hidden_dims=(512, 512)):
        super().__init__()
        self.latent_dim = latent_dim
        widths = (latent_dim, *hidden_dims)
        hidden = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.Softplus())]
        self.field = nn.Sequential(*hidden, nn.Linear(widths[-1], latent_dim))

    def rollout(self, z0, n_steps):
        check_width(z0, self.latent_dim)
        return repeat(lambda z: runge_kutta_4(self.field, z, 1.0), z0, n_steps)


class RotatedDynamics(HamiltonianDynamics):
    """A learned canonicalisation: Hamilton's equations for z O, with an orthogonal O trained jointly.

    O starts as the identity, so as the paper's partition.
    """

    def __init__(self, hamiltonian, latent_dim, step=leapfrog_step, dt=1.0):
        super().__init__(hamiltonian, step, dt)
        self.rotation = orthogonal(nn.Linear(latent_dim, latent_dim, bias=False))
        self.rotation.weight = torch.eye(latent_dim)

    def rollout(self, z0, n_steps):
        rotation = self.rotation.weight
        return super().rollout(z0 @ rotation, n_steps) @ rotation.T

    def energy(self, z):
        return self.hamiltonian(z @ self.rotation.weight)

    def rollout_with_energy(self, z0, n_steps):
        rotation = self.rotation.weight
        states, energies = super().rollout_with_energy(z0 @ rotation, n_steps)
        return states @ rotation.T, energies


class SubstepDynamics(HamiltonianDynamics):
    """`substeps` steps of dt / substeps between neighbouring embeddings."""

    def __init__(self, hamiltonian, substeps, step=leapfrog_step, dt=1.0):
        super().__init__(hamiltonian, step, dt)
        self.substeps = substeps

    @property
    def clamped_dt(self):
        return super().clamped_dt / self.substeps

    def rollout(self, z0, n_steps):
        return super().rollout(z0, n_steps * self.substeps)[..., :: self.substeps, :]

    def rollout_with_energy(self, z0, n_steps):
        states, energies = super().rollout_with_energy(z0, n_steps * self.substeps)
        return states[..., :: self.substeps, :], energies[..., :: self.substeps]


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
