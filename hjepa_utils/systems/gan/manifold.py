"""What a generator's motion looks like inside: how many dimensions it fills, and which momenta change."""

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors

from .model import DATA_DT


@torch.no_grad()
def motion_states(model, n, n_frames, *, rng, dt=DATA_DT):
    """The motion vectors of `n` random videos: float32 (n, n_frames, D). `dt` in seconds, as for `sample`."""
    was_training = model.training
    model.eval()
    try:
        noise = model.draw_noise(n, rng)[:, : model.motion_dim]
        return model.motion(noise, n_frames, dt / DATA_DT).cpu()
    finally:
        model.train(was_training)


def intrinsic_dimension(points, k=10):
    """How many dimensions points (n, D) fill, by the distances to their `k` nearest ones.

    The maximum-likelihood estimate of Levina & Bickel (2004), its inverse averaged over the points (MacKay &
    Ghahramani, 2005). It reads low for few points and many dimensions. `ValueError` for k points or fewer.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or len(points) <= k or k < 2:
        raise ValueError(f"a dimension by {k} neighbours needs more points (n, D), got {points.shape}")
    distances = NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points)[0][:, 1:]
    if not distances[:, 0].all():
        raise ValueError("two of the points are the same: their dimension has no estimate, leave one out")
    spread = np.log(distances[:, -1:] / distances[:, :-1]).mean()
    return float(1 / spread)


def moving_momenta(states, threshold=0.2):
    """How many momenta change: of states (n, T, D), those that move by more than `threshold` from the first
    frame to the last (mean over videos), in units of their spread over videos at the first."""
    p = np.asarray(states)[..., states.shape[-1] // 2 :]
    change = np.abs(p[:, -1] - p[:, 0]).mean(axis=0)
    return int((change > threshold * p[:, 0].std(axis=0)).sum())
