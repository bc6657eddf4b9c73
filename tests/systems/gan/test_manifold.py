"""Dimensions of known shapes, and momenta that are known to change."""

import numpy as np
import pytest
import torch

from hjepa_utils import HNN
from hjepa_utils.systems.gan.hgn import HGN
from hjepa_utils.systems.gan.manifold import intrinsic_dimension, motion_states, moving_momenta
from hjepa_utils.systems.gan.model import VideoGAN


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("dimension", [1, 2, 4])
def test_a_flat_shape_turned_into_many_dimensions_keeps_its_own(dimension):
    flat = rng().uniform(size=(1024, dimension)) @ rng(1).normal(size=(dimension, 20))
    np.testing.assert_allclose(intrinsic_dimension(flat), dimension, rtol=0.12)


def test_a_circle_has_one_dimension_and_a_gaussian_cloud_many():
    angle = rng().uniform(0, 2 * np.pi, 1024)
    assert 0.9 < intrinsic_dimension(np.stack([np.cos(angle), np.sin(angle)], 1)) < 1.1
    assert intrinsic_dimension(rng().normal(size=(1024, 20))) > 7


def test_only_momenta_that_change_are_counted():
    states = rng().normal(size=(50, 1, 6)) * np.ones((1, 5, 1))
    states[:, -1, 4] += 0.5  # of the momenta 3, 4, 5 one moves by half its spread, one by a tenth
    states[:, -1, 5] += 0.1
    states[:, -1, 0] += 3.0  # a position
    assert moving_momenta(states) == 1 and moving_momenta(states, 0.05) == 2


@pytest.mark.parametrize("kind", [VideoGAN, HGN])
def test_motion_vectors_are_those_that_samples_are_drawn_from(kind):
    torch.manual_seed(0)
    model = kind(channels=4)
    states = motion_states(model, 3, 4, rng=rng())
    with torch.no_grad():
        expected = model.eval().imagine(model.draw_noise(3, rng()), 4)[1]
    assert torch.equal(states, expected) and states.shape == (3, 4, 20)
    assert isinstance(model.motion.hamiltonian, HNN)


@pytest.mark.parametrize(("points", "words"), [
    (np.zeros((10, 3)), "needs more points"),
    (np.full((30, 3), np.nan), "points must be finite, below 1e50, got nan"),
    (np.zeros((30, 3)), "two of the points are the same"),
])  # fmt: skip
def test_bad_input_is_one_sentence(points, words):
    with pytest.raises(ValueError, match=words):
        intrinsic_dimension(points)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: intrinsic_dimension(np.ones((30, 2)), 1), "k must be a whole number, 2 or more, got 1"),
    (lambda: moving_momenta(np.ones((4, 6))), r"states are \(n, T, D\), .* got \(4, 6\)"),
    (lambda: moving_momenta(np.ones((4, 5, 3))), r"D even, got \(4, 5, 3\)"),
    (lambda: moving_momenta(np.ones((4, 5, 2)), -1),
     "threshold must be a number, 0 or more, and finite, got -1"),
    (lambda: motion_states(VideoGAN(channels=4), 2, 3, rng=rng(), dt=np.nan),
     "dt must be a number, .* got nan"),
    (lambda: motion_states(VideoGAN(channels=4), 0, 3, rng=rng()), "n must be a whole number, .* got 0"),
])  # fmt: skip
def test_other_bad_input_is_one_sentence_too(call, words):
    with pytest.raises(ValueError, match=words):
        call()
