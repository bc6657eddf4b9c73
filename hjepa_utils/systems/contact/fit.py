"""From tracks to flights, masses and surfaces: the steps of `ContactDynamics.fit`, in order."""

import warnings
from typing import NamedTuple

import numpy as np
import torch

from ...runs.checks import whole_number
from .contacts import Units, find_contacts, find_units
from .flights import Flights, Tracks, find_flights
from .surfaces import Pair, Wall, find_pair, find_walls, shared_walls

_MUCH_UNEXPLAINED, _MOST_UNEXPLAINED = 0.2, 0.6  # of the contacts


class Learned(NamedTuple):
    flights: Flights
    units: Units
    walls: list[Wall]
    pairs: list[Pair]


def learn(tracks, *, one_unit):
    """`Learned` from `Tracks`. Raises `ValueError` as `ContactDynamics.fit` says."""
    flights = find_flights(tracks)
    single, pairs = find_contacts(tracks, flights)
    if not sum(len(contacts.q) for contacts in (*single.values(), *pairs.values())):
        raise ValueError(
            f"no body meets anything in {flights.meets.size} intervals: give more videos, or longer ones"
        )
    units, pairs = find_units(single, pairs, flights.noise_v, one_unit)
    x = units.scale * tracks.q
    noise_x = max((units.scale * flights.noise_q).max(), 1e-300)
    noise_v = max((units.scale * flights.noise_v).max(), 1e-300)
    walls, found, unexplained = [], [], 0
    for body, contacts in single.items():
        visited = x[:, :, body].reshape(-1, x.shape[-1])
        of_body, left = find_walls(body, units.of(contacts, [body]), visited, noise_x, noise_v)
        walls, unexplained = walls + of_body, unexplained + left
    for (i, j), contacts in pairs.items():
        visited = np.stack([x[:, :, k].reshape(-1, x.shape[-1]) for k in (i, j)])
        pair, left = find_pair((i, j), units.of(contacts, (i, j)), units.mass[[i, j]], visited, noise_x)
        unexplained += left
        if pair:
            found.append(pair)
            walls += shared_walls(walls, pair, visited, noise_x)
    _warn_of_unexplained(unexplained, sum(surface.n_events for surface in (*walls, *found)))
    return Learned(flights, units, walls, found)


def _warn_of_unexplained(n, n_explained):
    seen = f"{n} of {n + n_explained} contacts fit no straight wall and no distance between bodies"
    if n > _MOST_UNEXPLAINED * (n + n_explained):
        raise ValueError(f"{seen}: these are no flights and contacts, or the walls are curved or move")
    if n > _MUCH_UNEXPLAINED * (n + n_explained):
        warnings.warn(
            f"{seen}: predictions after such contacts will be wrong",
            stacklevel=4,
        )


def as_tracks(states, n_dims):
    """`Tracks` of states (n_videos, n_times, D), checked."""
    states, rounding = _checked(states)
    n_dims = whole_number(n_dims, "n_dims")
    if n_dims < 1 or states.shape[2] % (2 * n_dims):
        raise ValueError(
            f"states hold positions of all bodies, then their velocities, in {n_dims} dimensions: "
            f"D must be a multiple of {2 * n_dims}, got {states.shape[2]}"
        )
    constant = np.ptp(states, axis=(0, 1)) <= 8 * rounding * np.abs(states).max(axis=(0, 1))
    if constant.any():
        advice = "leave out bodies that do not move, or a dimension in which none does"
        if not constant[: states.shape[2] // 2].any():
            advice = "this velocity shows no contact, so give more videos, or longer ones"
        raise ValueError(f"coordinate {np.argmax(constant)} of {states.shape[2]} never changes: {advice}")
    halves = states.reshape(*states.shape[:2], 2, -1, n_dims)
    q, p = halves[:, :, 0], halves[:, :, 1]
    return Tracks(q, p, *(8 * rounding * np.abs(part).max(axis=(0, 1)) for part in (q, p)))


def _checked(states):
    """Float64 (n_videos, n_times, D) and the relative rounding of what they came in."""
    if isinstance(states, torch.Tensor):
        states = states.detach().cpu().numpy()
    states = np.asarray(states)
    if states.ndim != 3 or states.dtype.kind not in "fiu" or states.shape[1] < 3 or not states.shape[0]:
        raise ValueError(
            "states must be real numbers (n_videos, n_times, D), with one video and three times or more; "
            f"got {states.dtype} {states.shape}"
        )
    if not np.isfinite(states).all():
        video, time = np.argwhere(~np.isfinite(states).all(axis=2))[0]
        raise ValueError(
            f"video {video} holds NaN or infinity at time {time}: leave this video out, or cut it before"
        )
    rounding = np.finfo(states.dtype if states.dtype.kind == "f" else np.float64).eps
    return states.astype(np.float64), float(rounding)
