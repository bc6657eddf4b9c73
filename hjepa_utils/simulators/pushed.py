"""Balls that are pushed and slowed: forces and linear drag around the exact flights of `billiards`.

    v̇ = a - γ v between contacts, the acceleration a held

Time is cut into short pieces. In each, a ball flies at the mean velocity of that law, straight and
exactly from event to event, and then gets the velocity at the piece's end: without a contact both are
exact, and a contact errs by what the push and the drag change within one piece.
"""

from math import ceil

import numpy as np

from .checks import as_floats, check_arena, check_positive, checked_masses, checked_states, is_number
from .impacts import advance

_PIECE = 1 / 160  # s: at 200 px/s a ball moves 1.3 px in it
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)


def push_balls(state, seconds, forces, *, drag=0.0, size=256.0, radius=20.0, masses=None):
    """The state (n_balls, 4), `seconds` later, under forces held on the balls and drag.

    `forces` (n_balls, 2) in px/s² times the unit of mass; `drag` is γ in 1/s. Equal to `advance_balls`
    where both are 0. Raises `ValueError` as it does, and for forces of another shape or not finite and a
    drag that is negative.
    """
    check_arena(size, radius)
    state = checked_states(as_floats(state, "a state"), size, radius)
    masses, forces = checked_masses(masses, len(state)), as_floats(forces, "forces")
    if forces.shape != (len(state), 2) or not np.isfinite(forces).all():
        raise ValueError(f"forces must be finite, one (x, y) a ball, got {forces.tolist()}")
    for name, value in {"seconds": seconds, "drag": drag}.items():
        if not is_number(value):
            raise ValueError(f"{name} must be finite and not negative, a number, got {value!r:.60}")
    if not drag and not forces.any():
        return advance(state, seconds, size, radius, masses)[0]
    n_pieces = max(1, ceil(seconds / _PIECE))
    accelerations = forces / masses[:, None]
    law = _Law(drag, seconds / n_pieces)
    for _ in range(n_pieces):
        state = law.enter(state, accelerations)
        state, _ = advance(state, law.h, size, radius, masses)
        state = law.leave(state, accelerations)
    return state


class _Law:
    """v̇ = a - γ v over h: its mean velocity is A v + B a, that at the end E v + C a."""

    def __init__(self, drag, h):
        check_positive(h=h)
        self.h, x = h, drag * h
        s = (1 + _NODES) / 2  # (1 - e^-x) / x and (e^-x - 1 + x) / x² as integrals, without cancellation
        self.at_end, self.mean = np.exp(-x), 0.5 * _WEIGHTS @ np.exp(-x * s)
        self.push_at_end = h * self.mean
        self.push_in_mean = h * (0.5 * _WEIGHTS @ ((1 - s) * np.exp(-x * s)))

    def enter(self, state, accelerations):
        """The velocity at the start → the mean one."""
        state = state.copy()
        state[:, 2:] = self.mean * state[:, 2:] + self.push_in_mean * accelerations
        return state

    def leave(self, state, accelerations):
        """The mean velocity → that at the end, by the same start."""
        at_start = (state[:, 2:] - self.push_in_mean * accelerations) / self.mean
        state[:, 2:] = self.at_end * at_start + self.push_at_end * accelerations
        return state
