"""Errors, energy drifts and distances of models over windows."""

import numpy as np
import torch

from ..dynamics.fixed_point import NotConverged
from ..runs.hardware import one_thread
from .intervals import arm_summary


def arm_errors(models, windows):
    """MSE at steps 1 … T-1 of every model: windows (n, T, D) → NumPy (n_models, n, T - 1)."""
    return torch.stack([rollout_errors(model, windows) for model in models]).double().cpu().numpy()


@torch.no_grad()
@one_thread()
def arm_rollouts(models, windows):
    """Every model's rollout from the first latent of windows (n, T, D): NumPy (n_models, n, T, D)."""
    z0, n_steps = windows[:, 0], windows.shape[1] - 1
    return torch.stack([model.rollout(z0, n_steps) for model in models]).cpu().numpy()


@torch.no_grad()
@one_thread()
def arm_drifts(models, windows, n_steps=15):
    """Largest change of each model's own H along rollouts from the test windows, in units of its spread.

    The spread is the standard deviation of H over the training windows of `LatentWindows`; NumPy
    (n_models, n_windows, 1).
    """
    drifts = [
        energy_drift(model.energy, model.rollout(windows.test[:, 0], n_steps))
        / model.energy(windows.train.flatten(0, 1)).std()
        for model in models
    ]
    return torch.stack(drifts).double().cpu().numpy()[..., None]


@torch.no_grad()
@one_thread()
def arm_distances(models, windows, n_steps):
    """Distance from the training mean after n steps, in units of the true test latents' mean distance.

    NumPy (n_models, n_windows, 1): far below 1 in a sink, far above it in an explosion.
    """
    centre = windows.train.flatten(0, 1).mean(dim=0)
    ends = torch.stack([model.rollout(windows.test[:, 0], n_steps)[:, -1] for model in models])
    ratios = (ends - centre).norm(dim=-1) / (windows.test - centre).norm(dim=-1).mean()
    return ratios.double().cpu().numpy()[..., None]


def long_drift(models, step, windows, n_steps, *, seed):
    """`arm_summary` of `arm_drifts` in float64 under a step, from the first window of every test video.

    None where a rollout overflows or an implicit step does not converge. Ten starts at a time, because
    all states of a rollout are held.
    """
    firsts = windows.first_of_videos().to(torch.float64)
    moved = [model.under(step).double() for model in models]
    parts = [firsts._replace(test=starts) for starts in firsts.test.split(10)]
    try:
        drifts = np.concatenate([arm_drifts(moved, part, n_steps) for part in parts], axis=1)
    except NotConverged:
        return None
    return arm_summary(drifts, firsts.test_videos.numpy(), seed=seed) if np.isfinite(drifts).all() else None


def error_growth(errors, groups, *, seed):
    """How errors (n_models, n_windows, n_steps) grow: three `Summary`s.

    They are of the "first" step's error, the "last" step's, and the "excess", last − n_steps · first:
    below 0 the growth is sublinear.
    """
    first, last = errors[..., :1], errors[..., -1:]
    compared = {"first": first, "last": last, "excess": last - errors.shape[2] * first}
    return {name: arm_summary(values, groups, seed=seed) for name, values in compared.items()}


def training_error(models, windows, *, seed):
    """`arm_summary` of the errors over the training windows: an arm that misses these underfits."""
    return arm_summary(arm_errors(models, windows.train), windows.train_videos.numpy(), seed=seed)


@torch.no_grad()
@one_thread()
def rollout_errors(dynamics, windows):
    """MSE at steps 1 … T-1, averaged over dimensions: (…, n_windows, T, D) → (…, n_windows, T - 1)."""
    predicted = dynamics.rollout(windows[..., 0, :], windows.shape[-2] - 1)
    return (predicted - windows)[..., 1:, :].square().mean(dim=-1)


@torch.no_grad()
def energy_drift(energy, trajectories):
    """max over t of |H(z_t) - H(z_0)| (§5.1): (n, T, D) → (n), in the units of `energy(z)`.

    Comparable between models only after division by the spread of H over the data, because
    H → cH with dt → dt/c leaves every trajectory as it is and multiplies this by c.
    """
    energies = energy(trajectories)
    return (energies - energies[:, :1]).abs().amax(dim=1)
