"""Distances against closed forms, and against plain loops."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from hjepa_utils.systems.gan.distances import against_real, frechet, kernel_mmd, wasserstein


def rng(seed=0):
    return np.random.default_rng(seed)


def test_the_wasserstein_distance_of_a_shift_is_the_shift():
    x = rng().normal(size=500)
    np.testing.assert_allclose(wasserstein(x, x + 0.7), 0.7)


def test_the_frechet_distance_of_normal_samples_is_the_closed_form():
    x, y = rng(1).normal(size=(4000, 3)), rng(2).normal(size=(4000, 3)) * [1, 2, 0.5] + [1, 0, 0]
    np.testing.assert_allclose(frechet(x, y), 1 + 0 + 1 + 0.25, rtol=0.1)  # |Δμ|² + Σ (σ - σ')²
    mixed = y @ rng(3).normal(size=(3, 3))
    a, b = np.cov(x, rowvar=False), np.cov(mixed, rowvar=False)
    expected = ((x.mean(0) - mixed.mean(0)) ** 2).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real)
    np.testing.assert_allclose(frechet(x, mixed), expected, rtol=1e-9)


def test_the_frechet_distance_of_a_sample_from_itself_is_nothing():
    x = rng().normal(size=(50, 4))
    np.testing.assert_allclose(frechet(x, x), 0, atol=1e-10)


def test_the_kernel_distance_is_that_of_all_pairs():
    x, y = rng(1).normal(size=(7, 4)), rng(2).normal(size=(5, 4)) + 1

    def mean_kernel(a, b):
        return np.mean([[(np.dot(one, other) / 4) ** 2 for other in b] for one in a])

    expected = 100 * (mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y))
    np.testing.assert_allclose(kernel_mmd(x, y), expected)
    np.testing.assert_allclose(kernel_mmd(x, x), 0, atol=1e-12)


def test_the_floor_is_of_disjoint_real_samples_and_below_what_differs():
    real, made = rng(1).normal(size=(400, 3)), rng(2).normal(size=(300, 3)) + 0.5
    rows = against_real(frechet, made, real, [20, 200], rng=rng(3), repeats=4)
    assert [row["n"] for row in rows] == [20, 200] and len(rows[0]["made"]) == 4
    assert np.mean(rows[1]["floor"]) < np.mean(rows[0]["floor"])  # more samples, less left of the floor
    assert min(rows[1]["made"]) > max(rows[1]["floor"])


def curve(sizes, **how):
    return against_real(kernel_mmd, np.ones((10, 2)), np.ones((20, 2)), sizes, **{"rng": rng()} | how)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: frechet(np.ones((3, 4)), np.ones((9, 4))), "the Fréchet distance of 4 features needs more"),
    (lambda: frechet(np.ones((3, 4)), np.ones((9, 5))), "features are"),
    (lambda: kernel_mmd(np.full((3, 2), np.nan), np.ones((3, 2))), "features must be finite, .* got nan"),
    (lambda: against_real(frechet, np.ones((9, 2)), np.ones((10, 2)), [6], rng=rng()), "between 2 and 5"),
    (lambda: curve([5.5]), r"between 2 and 10, .* got \[5.5\]"),
    (lambda: curve([]), r"between 2 and 10, .* got \[\]"),
    (lambda: curve(["6"]), r"between 2 and 10, .* got \['6'\]"),
    (lambda: curve([5], repeats=0), "repeats must be a whole number, 1 or more, got 0"),
    (lambda: curve([5], rng=3), "rng must be a numpy.random.Generator, got int"),
    (lambda: wasserstein([], [1.0]),
     r"samples are one or more numbers in a row, got \(0,\) and \(1,\)"),
    (lambda: wasserstein([np.nan], [1.0]), "samples must be finite, below 1e50, got nan"),
])  # fmt: skip
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()
