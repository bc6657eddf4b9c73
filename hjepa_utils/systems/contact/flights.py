"""Where bodies fly straight in their tracks, where they meet something, and how exact the numbers are."""

from typing import NamedTuple

import numpy as np

SURE = 6.0  # standard deviations of the noise: what differs by more is no noise
_RESTLESS = 0.3  # of the spread of p: where p changes so much all the time, nothing flies


class Tracks(NamedTuple):
    """States in NumPy, float64: `q`, `p` (n_videos, n_times, n_bodies, n_dims), p NaN where it is not known.

    `least_q` and `least_p` (n_bodies, n_dims): how exact they are at best, as standard deviations.
    """

    q: np.ndarray
    p: np.ndarray
    least_q: np.ndarray
    least_p: np.ndarray

    @property
    def extent(self):
        """Of every coordinate, (n_bodies, n_dims)."""
        return np.ptp(self.q, axis=(0, 1))


class Flights(NamedTuple):
    """Free flight q' = q + rate p + drift from one state to the next, per coordinate, (n_bodies, n_dims).

    `noise_q` and `noise_v` are standard deviations of q' - q - v and of v' - v in flight, with
    v = rate p + drift; `meets` (n_videos, n_times - 1, n_bodies) where a body's velocity changes by more.
    """

    rate: np.ndarray
    drift: np.ndarray
    noise_q: np.ndarray
    noise_v: np.ndarray
    meets: np.ndarray


def find_flights(tracks):
    """`Flights` by trimmed least squares. Raises `ValueError` where bodies do not fly most of the time."""
    change, moved = np.diff(tracks.p, axis=1), np.diff(tracks.q, axis=1)
    middle = (tracks.p[:, 1:] + tracks.p[:, :-1]) / 2
    noise_p = np.maximum(_spread(change), tracks.least_p)
    _check_they_fly(tracks, change, noise_p)
    steady = np.abs(change) <= SURE * noise_p
    rate, drift, noise_q = _free_flight(middle, moved, steady, tracks.least_q)
    noise_v = np.abs(rate) * noise_p
    off = np.abs(moved - rate * middle - drift) > 2 * SURE * noise_q
    meets = ((np.abs(change) > SURE * noise_p) | (off & np.isfinite(middle))).any(axis=-1)
    return Flights(rate, drift, noise_q, noise_v, meets)


def _free_flight(p, moved, steady, floor):
    """rate, drift and the spread of what they leave, per coordinate."""
    rate, drift = _lines(p, moved, steady & np.isfinite(p))
    noise = floor
    for _ in range(10):
        left = moved - rate * p - drift
        noise = np.maximum(_spread(np.where(steady, left, np.nan)), floor)
        rate, drift = _lines(p, moved, steady & (np.abs(left) <= 4 * noise))
    return rate, drift, noise


def _lines(p, moved, keep):
    """Slope and intercept of moved over p, by least squares of what is kept, for every coordinate."""
    n = keep.sum(axis=(0, 1))
    mean_p, mean_d = (np.where(keep, x, 0).sum(axis=(0, 1)) / np.maximum(n, 1) for x in (p, moved))
    dp, dd = np.where(keep, p - mean_p, 0), np.where(keep, moved - mean_d, 0)
    if not (dp * dp).sum(axis=(0, 1)).all():
        raise ValueError(
            f"a coordinate has too few free flights, {n.min()} of {keep.shape[0] * keep.shape[1]} intervals "
            "or all at one velocity: give more videos, or longer ones"
        )
    rate = (dp * dd).sum(axis=(0, 1)) / (dp * dp).sum(axis=(0, 1))
    return rate, mean_d - rate * mean_p


def _spread(values):
    """A standard deviation that contacts do not disturb, over videos and times: the median of |·|."""
    return np.nanmedian(np.abs(values), axis=(0, 1)) / 0.6745


def _check_they_fly(tracks, change, noise_p):
    spread = np.nanstd(tracks.p, axis=(0, 1))
    restless = noise_p / np.where(spread > 0, spread, np.inf)
    if restless.max() > _RESTLESS:
        raise ValueError(
            f"velocities change between most neighbouring states, by {restless.max():.2f} of their spread: "
            "these are no flights and contacts; give states closer in time, or less noisy ones"
        )
    push = np.abs(np.nanmedian(change, axis=(0, 1)))
    if (push > 3 * _spread(change - np.nanmedian(change, axis=(0, 1))) + 1e-6 * spread).any():
        raise ValueError(
            f"a steady force changes the velocities, by up to {push.max():.3g} a step: "
            "only bodies that fly freely between contacts can be learned"
        )
