"""The controls against formulas written out, NumPy, matrix exponentials and plain rollouts."""

import math

import numpy as np
import pytest
import torch

from hjepa_utils.systems.hjepa.controls import best_rank, extrapolation_errors, principal_directions


def points(*shape, seed=2):
    return torch.randn(shape, dtype=torch.float64, generator=torch.manual_seed(seed))


def noisy_latents(rank, noise, n_videos=20, n_clips=24, latent_dim=12, seed=0):
    """Rotations in planes of a subspace of `rank` dimensions, seen with noise in all of them."""
    basis = torch.linalg.qr(points(latent_dim, latent_dim, seed=seed)).Q[:rank]
    turns = [torch.tensor([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]]) for a in (0.3, 0.7, 1.1)]
    turn = torch.block_diag(*turns[: rank // 2]).double()
    states = [points(n_videos, rank, seed=seed + 1)]
    for _ in range(n_clips - 1):
        states.append(states[-1] @ turn)
    clean = torch.stack(states, dim=1) @ basis
    return clean + noise * points(*clean.shape, seed=seed + 2)


@pytest.mark.parametrize("rank", [2, 4, 6])
def test_the_best_rank_is_the_true_one(rank):
    assert best_rank(noisy_latents(rank, noise=0.05), range(1, 13)) == rank
    assert best_rank(noisy_latents(rank, noise=0.05, seed=10), range(1, 13), length=8, n_folds=4) == rank


def test_extrapolation_goes_on_with_the_last_difference():
    """Exact on straight lines, but for the window whose first latent has none before it."""
    start, slope = points(3, 1, 4), points(3, 1, 4, seed=5)
    latents = start + slope * torch.arange(20, dtype=torch.float64)[:, None]
    errors = extrapolation_errors(latents, 6).reshape(3, 15, 5)
    assert errors[:, 1:].max() < 1e-20
    stays = (slope[:, 0] ** 2).mean(dim=-1, keepdim=True) * torch.arange(1, 6) ** 2
    np.testing.assert_allclose(errors[:, 0], stays.numpy(), rtol=1e-12)


def test_the_principal_directions_are_numpys_singular_vectors_in_order():
    latents = points(6, 5, 8) * torch.arange(8, 0, -1)
    found = principal_directions(latents)
    assert found.dtype == torch.float64
    assert principal_directions(latents.float()).dtype == torch.float32
    _, _, directions = np.linalg.svd(latents.reshape(-1, 8).numpy())
    np.testing.assert_allclose(np.abs(directions @ found.numpy()), np.eye(8), atol=1e-12)
