"""Axes of motion out of mixtures, without labels, against the true positions."""

import numpy as np
import pytest
import torch

import hjepa_utils as hj
from hjepa_utils.systems.contact.axes import find_axes


def mixtures(n_videos=40, n_dims=12, noise=0.02):
    """Positions at clips (n_videos, 34, 4), and a random linear mixture of them with noise."""
    videos = [hj.simulate_collisions(150, rng=np.random.default_rng([0, k])) for k in range(n_videos)]
    positions = torch.from_numpy(hj.Clips().middles(np.stack(videos))[..., :2].copy()).flatten(2)
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(4, n_dims, generator=generator, dtype=torch.float64)
    mixed = ((positions - 128) / 62) @ matrix
    return positions, mixed + noise * torch.randn(mixed.shape, generator=generator, dtype=torch.float64)


def correlations(axes, positions):
    both = torch.cat([axes.values.flatten(0, 1), positions.flatten(0, 1)], dim=1)
    return torch.corrcoef(both.T)[:4, 4:].abs()


@pytest.mark.parametrize("seed", [0, 1])
def test_finds_each_coordinate_of_each_ball_in_a_mixture(seed):
    positions, mixed = mixtures()
    axes = find_axes(mixed, 4, seed=seed)
    found = correlations(axes, positions)
    assert sorted(found.argmax(dim=1).tolist()) == [0, 1, 2, 3]
    assert found.max(dim=1).values.min() > 0.97
    assert axes.agreement > 0.5


def test_axes_are_spread_evenly():
    _, mixed = mixtures()
    flat = find_axes(mixed, 4, seed=0).values.flatten(0, 1)
    expected = torch.linspace(-1, 1, len(flat) + 1).double()
    middles = (expected[1:] + expected[:-1]) / 2
    torch.testing.assert_close(flat.sort(dim=0).values, middles[:, None].expand(-1, 4), atol=1e-3, rtol=0)


def test_says_when_there_are_fewer_components_than_axes():
    _, mixed = mixtures(4, 3, 0.0)
    with pytest.raises(ValueError, match="4 axes need as many principal components, got 3"):
        find_axes(mixed, 4, seed=0)
