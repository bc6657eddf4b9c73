"""Errors over the horizon, drifts, probes and confidence intervals."""

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


@torch.no_grad()
def rollout_errors(dynamics, windows):
    """MSE at steps 1 … T-1, averaged over dimensions: (n_windows, T, D) → (n_windows, T - 1)."""
    predicted = dynamics.rollout(windows[:, 0], windows.shape[1] - 1)
    return (predicted[:, 1:] - windows[:, 1:]).square().mean(dim=-1)


@torch.no_grad()
def energy_drift(energy, trajectories):
    """max over t of |H(z_t) - H(z_0)| (§5.1): (n, T, D) → (n), in the units of `energy(z)`.

    Comparable between models only after division by the spread of H over the data, because
    H → cH with dt → dt/c leaves every trajectory as it is and multiplies this by c.
    """
    energies = energy(trajectories)
    return (energies - energies[:, :1]).abs().amax(dim=1)


def clustered_interval(values, groups, *, rng, n_resamples=2000):
    """95 % bootstrap interval of the mean, resampling whole groups (videos): (n), (n) → (low, high).

    Windows of one video overlap, so they are no independent samples; `rng` is a NumPy `Generator`.
    """
    values, groups = np.asarray(values, float), np.asarray(groups)
    if values.shape != groups.shape:
        raise ValueError(f"one group per value is needed, got {values.shape} and {groups.shape}")
    _, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    sums = np.bincount(index, weights=values)
    drawn = rng.integers(len(sizes), size=(n_resamples, len(sizes)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return tuple(np.quantile(means, [0.025, 0.975]).tolist())


def ridge_probe():
    """A linear read-out, not yet fitted: ridge on standardised latents, penalty by leave-one-out.

    scikit-learn's `fit` (n, D), (n, k) and `predict` (m, D) → (m, k). Fit and predict on different
    videos: clips of one video overlap.
    """
    return make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-3, 4, 15)))
