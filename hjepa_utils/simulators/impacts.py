"""The flow of balls in a box from event to event: when they meet what, and with which impulses.

Nothing is checked here: `billiards` does, before it comes here.
"""

from itertools import combinations
from math import dist, inf, sqrt

import numpy as np
from scipy.optimize import nnls

MAX_EVENTS = 10_000  # of one call, walls included: half a second of work
MAX_EVENTS_AT_ONCE = 200  # while the clock stands still; a row of 20 touching balls needs at most 190


def advance(state, seconds, size, radius, masses):
    """The state (n_balls, 4) after `seconds`, and the number of ball–ball contacts on the way.

    `radius` is one number, or one a ball, (n_balls,). Contacts that fall into one instant, to rounding,
    are solved together, so that neither the order of the rows nor a mirror changes the answer. Raises
    `ValueError` where contacts do not come to an end.
    """
    pairs = list(combinations(range(len(state)), 2))
    radius = np.broadcast_to(radius, len(state))[:, None]
    radii = radius[:, 0].tolist()
    left, n_contacts, n_at_once, n_events = seconds, 0, 0, 0
    while True:
        balls = state.tolist()  # plain numbers: several times faster than arrays of two
        wall_times = [t for ball, r in zip(balls, radii, strict=True) for t in _wall_times(*ball, size, r)]
        contact_times = [_contact_time(*balls[a], *balls[b], radii[a] + radii[b]) for a, b in pairs]
        wait = min(*wall_times, *contact_times)
        if wait > left:
            return _drift(state, left, size, radius), n_contacts
        state = _drift(state, wait, size, radius)
        n_at_once = n_at_once + 1 if left - wait == left else 0
        left -= wait
        n_contacts += _collide(state, masses, pairs, contact_times, wall_times, wait, size, radius)
        n_events += 1
        if n_at_once == MAX_EVENTS_AT_ONCE:
            last = _last_contact(pairs, contact_times, wall_times)
            raise ValueError(
                f"more than {n_at_once:,} contacts in one instant, last between {last}: "
                "give the balls room, or lower their speeds"
            )
        if n_events == MAX_EVENTS:
            last = _last_contact(pairs, contact_times, wall_times)
            raise ValueError(
                f"more than {n_events:,} contacts in {seconds:.3g} s, last between {last}: "
                "lower the speeds, or ask for a shorter time"
            )


def _last_contact(pairs, contact_times, wall_times):
    if min(wall_times) < min(contact_times):
        return f"ball {np.argmin(wall_times) // 2} and a wall"
    return "balls {} and {}".format(*pairs[np.argmin(contact_times)])


def tolerance(size):
    """Gaps up to this many px are rounding: 1e-9, or 1e-12 of a box that is larger than 1,000 px."""
    return max(1e-9, 1e-12 * size)


def _collide(state, masses, pairs, contact_times, wall_times, wait, size, radius):
    """Change the velocities, in place, by the impulses of this instant; returns the contacts of balls."""
    position, radii, rounding = state[:, :2].tolist(), radius[:, 0].tolist(), tolerance(size)
    touching = [
        ((a, b), time)
        for (a, b), time in zip(pairs, contact_times, strict=True)
        if time == wait or dist(position[a], position[b]) <= radii[a] + radii[b] + rounding
    ]
    meeting = [pair for pair, time in touching if time < inf]
    if meeting:
        gaps = _wall_gaps(state, size, radius)
        soon = np.reshape(wall_times, gaps.shape) < inf
        walls = np.argwhere(soon & (gaps <= tolerance(size)))
        if len(meeting) + len(walls) > 1:
            at_walls = np.argwhere(gaps <= tolerance(size))
            if _order_matters(_normals(state, masses, [pair for pair, _ in touching], at_walls, size)):
                _reflect(state, masses, _normals(state, masses, meeting, walls, size))
                return len(meeting)
    if wait in contact_times:
        _exchange_normal_momentum(state, masses, *pairs[contact_times.index(wait)])
        return 1
    state[:, 2:][np.reshape(wall_times, (-1, 2)) == wait] *= -1
    return 0


def _drift(state, seconds, size, radius):
    state = state.copy()
    position = state[:, :2]
    position += seconds * state[:, 2:]
    # Rounding may leave a ball 1e-14 px outside; the wall is where it stops.
    np.minimum(np.maximum(position, radius, out=position), size - radius, out=position)
    return state


def _wall_times(x, y, vx, vy, size, radius):
    """Time until each coordinate reaches the wall it moves towards; inf at rest."""
    for position, velocity in ((x, vx), (y, vy)):
        gap = size - radius - position if velocity > 0 else radius - position
        yield gap / velocity if velocity else inf


def _contact_time(x1, y1, vx1, vy1, x2, y2, vx2, vy2, reach):
    """Time until two centres are `reach` apart: the smaller root of |Δx + t Δv|² = reach²."""
    dx, dy, dvx, dvy = x2 - x1, y2 - y1, vx2 - vx1, vy2 - vy1
    closing = -(dx * dvx + dy * dvy)
    if closing <= 0:
        return inf
    gap = dx * dx + dy * dy - reach**2
    discriminant = closing**2 - (dvx * dvx + dvy * dvy) * gap
    if discriminant < 0:
        return inf
    return max(0.0, gap / (closing + sqrt(discriminant)))  # the root without cancellation


def _exchange_normal_momentum(state, masses, a, b):
    """Give balls a and b, in place, the impulse 2 mₐ m_b / (mₐ + m_b) (Δv · n) n with opposite signs."""
    normal = state[b, :2] - state[a, :2]
    normal /= np.linalg.norm(normal)
    closing = (state[b, 2:] - state[a, 2:]) @ normal * normal
    state[a, 2:] += 2 * masses[b] / (masses[a] + masses[b]) * closing
    state[b, 2:] -= 2 * masses[a] / (masses[a] + masses[b]) * closing


def _wall_gaps(state, size, radius):
    return size / 2 - radius - np.abs(state[:, :2] - size / 2)


def _normals(state, masses, pairs, walls, size):
    """The direction in which each contact opens, over the velocities √m v: unit rows (n, 2 n_balls)."""
    rows = np.zeros((len(pairs) + len(walls), len(state), 2))
    for row, (a, b) in zip(rows, pairs, strict=False):
        row[b] = state[b, :2] - state[a, :2]
        row[a] = -row[b]
    for row, (ball, axis) in zip(rows[len(pairs) :], walls, strict=True):
        row[ball, axis] = size / 2 - state[ball, axis]
    rows = (rows / np.sqrt(masses)[:, None]).reshape(len(rows), -1)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _order_matters(normals):
    """Whether contacts of one instant, taken one after another, end differently in another order.

    They do not where every two meet at an angle π / k with a whole k: the reflections then form a
    Coxeter group, which carries a velocity to one outcome by any way. So do contacts of separate balls
    (k = 2) and equal balls on one line (k = 3: Newton's cradle).
    """
    cosines = -(normals @ normals.T)[np.triu_indices(len(normals), 1)]
    angles = np.arccos(cosines.clip(-1, 1))
    return not (np.abs(angles - np.pi / np.round(np.pi / angles)) < 1e-7).all()


def _reflect(state, masses, normals):
    """Solve contacts of one instant together: each reverses its closing speed, or gets no impulse.

    With G the normals and u = √m v: u ← u + 2 Gᵀλ, where λ ≥ 0 makes |u + Gᵀλ| least (Moreau's law;
    Smith, Kaufman, Vouga, Tamstorf & Grinspun, "Reflections on simultaneous impact", 2012). Energy and
    the momentum of every pair are kept, and Gᵀλ is unique, so no order or mirror is preferred.
    """
    root = np.sqrt(masses)[:, None]
    u = (root * state[:, 2:]).ravel()
    closing = -(normals @ u).min()  # nnls has tolerances of its own, meant for numbers about 1
    impulses = closing * nnls(normals.T, -u / closing)[0]
    state[:, 2:] += 2 * (impulses @ normals).reshape(-1, 2) / root
