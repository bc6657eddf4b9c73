"""What a generator's motion looks like inside: how many dimensions it fills, and which momenta change."""

import math

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors

from ...runs.checks import check_between, check_whole
from ...simulators.checks import finite_floats
from ...simulators.toy_physics import DT
from .model import speed_of
from .networks import evaluating


@torch.no_grad()
def motion_states(model, n, n_frames, *, rng, dt=DT):
    """The motion vectors of `n` random videos: float32 (n, n_frames, D). `dt` in seconds, as for `sample`."""
    speed, noise = speed_of(dt), model.draw_noise(n, rng)[:, : model.motion_dim]
    with evaluating(model):
        return model.motion(noise, n_frames, speed).cpu()


def intrinsic_dimension(points, k=10):
    """How many dimensions points (n, D) fill, by the distances to their `k` nearest ones.

    The maximum-likelihood estimate of Levina & Bickel (2004), its inverse averaged over the points (MacKay &
    Ghahramani, 2005). It reads low for few points and many dimensions. `ValueError` for k points or fewer.
    """
    check_whole(2, k=k)
    points = finite_floats(points, "points")
    if points.ndim != 2 or len(points) <= k or points.shape[1] < 1:
        raise ValueError(f"a dimension by {k} neighbours needs more points (n, D), got {points.shape}")
    distances = NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points)[0][:, 1:]
    if not distances[:, 0].all():
        raise ValueError("two of the points are the same: their dimension has no estimate, leave one out")
    spread = np.log(distances[:, -1:] / distances[:, :-1]).mean()
    return float(1 / spread)


def moving_momenta(states, threshold=0.2):
    """How many momenta change: of states (n, T, D), those that move by more than `threshold` from the first
    frame to the last (mean over videos), in units of their spread over videos at the first.

    Raises `ValueError` for fewer than two videos or two frames, an odd D, NaN and infinity.
    """
    check_between(0, math.inf, threshold=threshold)
    finite_floats(states, "states")
    states = np.asarray(states)
    if states.ndim != 3 or min(states.shape) < 2 or states.shape[2] % 2:
        raise ValueError(f"states are (n, T, D), n and T 2 or more, D even, got {states.shape}")
    p = states[..., states.shape[-1] // 2 :]
    change = np.abs(p[:, -1] - p[:, 0]).mean(axis=0)
    return int((change > threshold * p[:, 0].std(axis=0)).sum())
