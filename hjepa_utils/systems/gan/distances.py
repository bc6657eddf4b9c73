"""Distances between samples: of numbers, and of the features of videos."""

import numpy as np
from scipy.stats import wasserstein_distance

from ...simulators.checks import check_count, check_generator, finite_floats


def wasserstein(x, y):
    """W₁ of two samples of numbers, in their unit. `ValueError` for none, NaN and infinity."""
    x, y = (finite_floats(one, "samples") for one in (x, y))
    if x.ndim != 1 or y.ndim != 1 or 0 in (*x.shape, *y.shape):
        raise ValueError(f"samples are one or more numbers in a row, got {x.shape} and {y.shape}")
    return float(wasserstein_distance(x, y))


def kernel_mmd(x, y):
    """The squared maximum mean discrepancy of features (n, D) and (m, D), times 100, as JEDi defines it.

    With the kernel (x·y / D)², over all pairs, also of a sample with itself (Luo et al., ICLR 2025).
    """
    x, y = _features(x, y)
    return 100 * (_kernel(x, x) + _kernel(y, y) - 2 * _kernel(x, y))


def frechet(x, y):
    """|μ - μ'|² + tr(Σ + Σ' - 2 (Σ Σ')^½) of features (n, D) and (m, D), by normal distributions of both.

    Raises `ValueError` for samples no larger than D, whose covariances would be singular.
    """
    x, y = _features(x, y)
    if min(len(x), len(y)) <= x.shape[1]:
        raise ValueError(
            f"the Fréchet distance of {x.shape[1]} features needs more samples than that, got "
            f"{min(len(x), len(y))}: take more videos, or fewer features"
        )
    a, b = np.atleast_2d(np.cov(x, rowvar=False)), np.atleast_2d(np.cov(y, rowvar=False))
    values, vectors = np.linalg.eigh(a)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ b @ root).clip(0)).sum()  # the trace of (Σ Σ')^½
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a) + np.trace(b) - 2 * shared)


def against_real(distance, made, real, sizes, *, rng, repeats=5):
    """A distance over the number of samples, with its floor: a list of dicts.

    For each of `sizes`, `repeats` times: `made`, of that many made ones from as many real ones, and `floor`,
    of two such samples of real ones that share none; lists of numbers. Raises `ValueError` where there are
    fewer made ones than a size, or fewer real ones than twice of it.
    """
    made, real = _features(made, real)
    check_generator(rng)
    check_count(repeats=repeats)
    sizes, largest = np.atleast_1d(sizes), min(len(made), len(real) // 2)
    if (
        sizes.dtype.kind not in "iu"
        or sizes.ndim > 1
        or sizes.size == 0
        or sizes.min() < 2
        or sizes.max() > largest
    ):
        raise ValueError(
            f"sizes of samples must lie between 2 and {largest}, the made ones and half of the real ones; "
            f"got {sizes.tolist()}"
        )
    rows = []
    for n in sizes:
        row = {"n": int(n), "made": [], "floor": []}
        for _ in range(repeats):
            first, second = np.split(rng.permutation(len(real))[: 2 * n], 2)
            row["made"].append(distance(made[rng.permutation(len(made))[:n]], real[first]))
            row["floor"].append(distance(real[first], real[second]))
        rows.append(row)
    return rows


def _kernel(x, y):
    return float(((x @ y.T / x.shape[1]) ** 2).mean())


def _features(x, y):
    x, y = (finite_floats(one, "features") for one in (x, y))
    if x.ndim != 2 or y.ndim != 2 or x.shape[1:] != y.shape[1:] or x.shape[1] < 1 or min(len(x), len(y)) < 2:
        raise ValueError(f"features are (n, D), two samples or more of one D, got {x.shape} and {y.shape}")
    return x, y
