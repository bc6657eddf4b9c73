"""Velocities from positions alone: straight lines through the runs of frames in which a body flies."""

import numpy as np
import torch

from .flights import Tracks

_FEWEST = 3  # points of a run: two give a line, the third says that it is one
_NEW_RUN = (
    30.0  # what a new run costs, in squared standard deviations: noise gains 20 by the best of 150 splits
)


def flights_of(positions):
    """`Tracks` from checked positions (n_videos, n_times, n_bodies, n_dims), float64, and their rounding.

    Velocities are per step, and NaN where a body does not fly straight for three times; positions of a
    run are those of its line, so that noise is less.
    """
    positions, rounding = positions
    noise = _noise(positions, rounding)
    q, p = positions.copy(), np.full_like(positions, np.nan)
    lengths = []
    for video, body in np.ndindex(positions.shape[0], positions.shape[2]):
        for first, last in _runs(positions[video, :, body] / noise[body]):
            times = np.arange(first, last + 1)
            middle = times.mean()
            points = positions[video, first : last + 1, body]
            slope = ((times - middle) @ points) / np.square(times - middle).sum()
            q[video, first : last + 1, body] = points.mean(axis=0) + (times - middle)[:, None] * slope
            p[video, first : last + 1, body] = slope
            lengths.append(len(times))
    if not lengths:
        raise ValueError(
            f"no body flies straight for {_FEWEST} times in a row: give positions closer in time"
        )
    n = np.quantile(lengths, 0.25)  # short runs are the noisy ones
    return Tracks(q, p, 2 * noise / np.sqrt(n), np.sqrt(12) * noise / n**1.5)


def states_from_tracks(positions):
    """Positions (n_videos, n_times, N, n_dims) → states (n_videos, n_times, 2 N n_dims), float64.

    Positions, then velocities per step, estimated where bodies fly straight and NaN elsewhere. For a start
    of `rollout`, take a time at which all are known. Raises `ValueError` as `ContactDynamics.fit_tracks`.
    """
    tracks = flights_of(checked_positions(positions))
    return torch.from_numpy(np.concatenate([x.reshape(*x.shape[:2], -1) for x in tracks[:2]], axis=-1))


def checked_positions(positions):
    """Float64 positions and their relative rounding; `ValueError` for other shapes, NaN, bodies that rest."""
    positions = np.asarray(positions.detach().cpu() if isinstance(positions, torch.Tensor) else positions)
    if (
        positions.ndim != 4
        or positions.dtype.kind not in "fiu"
        or positions.shape[1] < 5
        or not positions.size
    ):
        raise ValueError(
            "positions must be real numbers (n_videos, n_times, n_bodies, n_dims), five times or more; "
            f"got {positions.dtype} {positions.shape}"
        )
    finite = np.isfinite(positions).all(axis=3)
    if not finite.all():
        video, time, body = np.argwhere(~finite)[0]
        raise ValueError(
            f"video {video} holds NaN or infinity at time {time} for body {body}: cut the video there"
        )
    rounding = float(np.finfo(positions.dtype if positions.dtype.kind == "f" else np.float64).eps)
    positions = positions.astype(np.float64)
    resting = (np.ptp(positions, axis=(0, 1)) <= 8 * rounding * np.abs(positions).max()).any(axis=1)
    if resting.any():
        raise ValueError(f"body {np.argmax(resting)} never moves, in some dimension: leave it out")
    return positions, rounding


def _noise(positions, rounding):
    """Of the positions, (n_bodies, n_dims), from second differences, whose variance is 6 times as large."""
    bend = np.abs(np.diff(positions, n=2, axis=1))
    return np.median(bend, axis=(0, 1)) / 0.6745 / np.sqrt(6) + 4 * rounding * np.abs(positions).max()


def _runs(points):
    """First and last times of straight runs of one body, points (n_times, n_dims) in units of their noise.

    The fewest lines that the noise allows: least squared residuals plus `_NEW_RUN` a line, over all ways to
    cut the track (optimal partitioning; Jackson et al., 2005).
    """
    n = len(points)
    best, begins = np.append(0.0, np.full(n, np.inf)), np.zeros(n + 1, int)
    for behind in range(1, n + 1):
        cost = best[:behind] + _residuals(points[:behind]) + _NEW_RUN
        begins[behind] = cost.argmin()
        best[behind] = cost[begins[behind]]
    behind, runs = n, []
    while behind:
        first = begins[behind]
        if behind - first >= _FEWEST:
            runs.append((first, behind - 1))
        behind = first
    return runs[::-1]


def _residuals(points):
    """Squared residuals of the lines through points k … n - 1, for every k: (n, n_dims) → (n,)."""
    n = len(points)
    back = points[::-1] - points[-1]  # small numbers, so that their sums of squares keep their digits
    time, count = np.arange(n)[:, None], np.arange(1, n + 1)[:, None]
    mean = np.cumsum(back, axis=0) / count
    squares = np.cumsum(back**2, axis=0) - count * mean**2
    with_time = np.cumsum(time * back, axis=0) - count * mean * (count - 1) / 2
    spread = count * (count**2 - 1) / 12
    left = squares - with_time**2 / np.where(spread > 0, spread, 1)
    return np.where(count[:, 0] <= 2, 0.0, left.clip(0).sum(axis=1))[::-1]
