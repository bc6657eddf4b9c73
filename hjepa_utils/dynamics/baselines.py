"""Predictors without an energy: the paper's MLP, other baselines, and the floors."""

import math
from itertools import pairwise

import torch
from torch import nn

from .hamiltonian import check_state, whole_numbers
from .integrators import check_n_steps, in_own_precision, repeat, runge_kutta_4
from .saved import SavedModel


class BaselineMLP(SavedModel):
    """The paper's baseline ẑ_{t+1} = f(z_t), a ReLU MLP (eq. 8); 1,312,768 parameters at D = 1024.

    `residual=True` predicts the change instead, ẑ_{t+1} = z_t + f(z_t), as every Hamiltonian step does.
    """

    def __init__(self, latent_dim=1024, hidden_dims=(512, 512), residual=False):
        super().__init__()
        (self.latent_dim,), self.hidden_dims = whole_numbers([latent_dim]), whole_numbers(hidden_dims)
        if residual not in (True, False):
            raise ValueError(f"residual must be True or False, got {residual!r}")
        self.residual = bool(residual)  # json knows no NumPy bool
        widths = (self.latent_dim, *self.hidden_dims)
        hidden = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.network = nn.Sequential(*hidden, nn.Linear(widths[-1], self.latent_dim))

    def config(self):
        return {
            "latent_dim": self.latent_dim,
            "hidden_dims": list(self.hidden_dims),
            "residual": self.residual,
        }

    def forward(self, z):
        """One step: (…, D) → (…, D)."""
        change = self.network(check_state(z, self.latent_dim, like=self.network[0].weight))
        return z + change if self.residual else change

    @in_own_precision
    def rollout(self, z0, n_steps):
        return repeat(self, z0, n_steps)


class Persistence(nn.Module):
    """The floor that any predictor must beat: ẑ_t = z_0."""

    def rollout(self, z0, n_steps):
        return repeat(lambda z: z, z0, n_steps)


class TrainingMean(nn.Module):
    """The other floor: ẑ_t is the mean training latent, whatever z_0 is."""

    mean: torch.Tensor

    def __init__(self, mean):
        super().__init__()
        self.register_buffer("mean", mean)

    def rollout(self, z0, n_steps):
        check_state(z0, self.mean.shape[-1])
        return repeat(lambda z: self.mean.expand_as(z), z0, n_steps)


def n_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def floors(windows):
    """The predictors that need no training, for `LatentWindows`: {name: [predictor]}."""
    mean = windows.train.flatten(0, 1).mean(dim=0)
    return {"training mean": [TrainingMean(mean)], "persistence": [Persistence()]}


class LinearMap(nn.Module):
    """ẑ_{t+1} = ẑ_t A, the one-step map of dynamic mode decomposition; `matrix` is A, (D, D)."""

    matrix: torch.Tensor

    def __init__(self, matrix):
        super().__init__()
        self.register_buffer("matrix", matrix)

    @classmethod
    def fitted_to(cls, latents, rank):
        """A = X⁺Y over all neighbours, X⁺ with `rank` singular values (Tu et al., 2014, exact DMD).

        `latents`: (n_videos, n_clips, D), standardised. Raises `ValueError` for a rank not in 1 … D
        and for videos of one clip.
        """
        if not 1 <= rank <= latents.shape[-1]:
            raise ValueError(f"the rank must lie between 1 and {latents.shape[-1]}, got {rank}")
        now, following = latents[:, :-1].flatten(0, 1).double(), latents[:, 1:].flatten(0, 1).double()
        if not len(now):
            raise ValueError(f"a map needs two clips a video or more, got {tuple(latents.shape)}")
        u, s, vt = torch.linalg.svd(now, full_matrices=False)
        matrix = vt[:rank].T @ ((u[:, :rank].T @ following) / s[:rank, None])
        return cls(matrix.to(latents.dtype))

    def rollout(self, z0, n_steps):
        check_state(z0, len(self.matrix), like=self.matrix)
        return repeat(lambda z: z @ self.matrix, z0, n_steps)


class GRU(nn.Module):
    """h_0 = tanh(W z_0); h_{t+1} = GRU(ẑ_t, h_t), ẑ_{t+1} = ẑ_t + V h_{t+1} (Cho et al., 2014)."""

    def __init__(self, latent_dim, hidden_dim):
        super().__init__()
        self.latent_dim, hidden_dim = whole_numbers([latent_dim, hidden_dim])
        self.start = nn.Linear(latent_dim, hidden_dim)
        self.cell = nn.GRUCell(latent_dim, hidden_dim)
        self.change = nn.Linear(hidden_dim, latent_dim)

    @classmethod
    def of_size(cls, latent_dim, n_parameters):
        """As wide as `n_parameters` allow: K hidden units take 3K² + (5D + 7)K + D. `ValueError` if K < 1."""
        b = 5 * latent_dim + 7
        if not n_parameters >= 3 + b + latent_dim:
            raise ValueError(f"a GRU for z of width {latent_dim} needs more than {n_parameters} parameters")
        return cls(latent_dim, int((math.sqrt(b * b + 12 * (n_parameters - latent_dim)) - b) / 6))

    def rollout(self, z0, n_steps):
        check_n_steps(n_steps)
        flat = check_state(z0, self.latent_dim, like=self.start.weight).reshape(-1, self.latent_dim)
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
        (self.latent_dim, *hidden_dims) = whole_numbers([latent_dim, *hidden_dims])
        widths = (self.latent_dim, *hidden_dims)
        hidden = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.Softplus())]
        self.field = nn.Sequential(*hidden, nn.Linear(widths[-1], latent_dim))

    def rollout(self, z0, n_steps):
        check_state(z0, self.latent_dim, like=self.field[0].weight)
        return repeat(lambda z: runge_kutta_4(self.field, z, 1.0), z0, n_steps)
