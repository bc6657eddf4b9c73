"""Bodies of several masses under forces, many sequences at once: `billiards` side by side.

A body's radius grows with the root of its mass, as a disc's of one density. A force F held over a frame
is one exact kick at its start, Δv = F / (m fps); the flights between kicks are those of `impacts`, event
by event, without a time step. Lengths are pixels, times seconds.
"""

import reprlib
from itertools import combinations

import numpy as np

from .checks import (
    LARGE,
    SMALL,
    as_floats,
    check_arena,
    check_count,
    check_generator,
    check_positive,
    is_number,
)
from .impacts import advance, tolerance

UNIT_RADIUS = 20.0  # px, of a body of mass 1
_MAX_DRAWS = 10_000  # of starting positions, until none overlaps
_GAP = 1.0  # px, the least between bodies at the start
_TOGETHER = 1e-6  # s: events nearer in time go to `impacts.advance`, which solves them together
_MAX_ROUNDS = 200  # events of one frame, after which `impacts.advance` goes on, and ends or says why not


def simulate_bodies(
    n_sequences, n_frames, *, rng, masses, forces=None, fps=30, size=256.0, radius=None, speed=60.0
):
    """True states of many sequences: float64 (n_sequences, n_frames, N, 4), x, y in px, vx, vy in px/s.

    `masses` are (N,) or (n_sequences, N), and so is `radius`, 20 √mass px unless given; `forces`
    (n_sequences, n_frames - 1, N, 2) in px/s² times the unit of mass are held over each frame, none
    unless given. Bodies start anywhere in the box, without overlap; each velocity component is normal,
    `speed` px/s its deviation. Raises `ValueError` for other shapes, numbers that are not finite or not
    positive, and bodies that find no room.
    """
    check_generator(rng)
    check_count(n_sequences=n_sequences, n_frames=n_frames)
    if not is_number(speed):
        raise ValueError(f"speed must be finite and not negative, a number, got {reprlib.repr(speed)}")
    masses, radii = _checked_sizes(masses, radius, n_sequences, size)
    start = np.empty((*masses.shape, 4))
    start[..., :2] = _random_places(rng, radii, size)
    start[..., 2:] = rng.normal(0, speed, (*masses.shape, 2))
    if forces is None:
        forces = np.zeros((n_sequences, n_frames - 1, masses.shape[1], 2))
    forces = _checked_forces(forces, (n_sequences, n_frames - 1, masses.shape[1], 2))
    return advance_bodies(start, masses, forces, fps=fps, size=size, radius=radii)


def advance_bodies(states, masses, forces, *, fps=30, size=256.0, radius=None):
    """The exact flow of many states under held forces: (B, N, 4) → (B, n + 1, N, 4), the first as given.

    `forces` (B, n, N, 2), one a frame of 1 / `fps` s; `masses` and `radius` as in `simulate_bodies`. A
    state's velocity is that before the kick of the frame that follows. Raises `ValueError` as
    `simulate_bodies` does, and for bodies that overlap or lie outside.
    """
    check_positive(fps=fps)
    states = as_floats(states, "states")
    if states.ndim != 3 or states.shape[2] != 4 or not states.size:
        raise ValueError(f"states have shape (B, N, 4), a row a body; got {states.shape}")
    masses, radii = _checked_sizes(masses, radius, len(states), size, states.shape[1])
    _check_places(states, radii, size)
    forces = as_floats(forces, "forces")
    n_steps = forces.shape[1] if forces.ndim == 4 else 1
    forces = _checked_forces(forces, (len(states), n_steps, states.shape[1], 2))
    path = np.empty((len(states), n_steps + 1, *states.shape[1:]))
    path[:, 0] = states
    for t in range(n_steps):
        kicked = path[:, t].copy()
        kicked[..., 2:] += forces[:, t] / (fps * masses[..., None])
        path[:, t + 1], _ = flow(kicked, 1 / fps, size, radii, masses)
    return path


def body_contacts(states, masses, forces, *, fps=30, size=256.0, radius=None):
    """Contacts of all pairs in every frame: states (B, T, N, 4), forces (B, T - 1, N, 2) → int (B, T - 1)."""
    check_positive(fps=fps)
    states, forces = as_floats(states, "states"), as_floats(forces, "forces")
    if states.ndim != 4 or states.shape[3] != 4 or states.shape[1] < 2 or not states.size:
        raise ValueError(f"states have shape (B, T, N, 4), two frames or more; got {states.shape}")
    if not (np.abs(states) < LARGE).all():
        raise ValueError("states must be finite, below 1e50, got NaN, infinity or more")
    masses, radii = _checked_sizes(masses, radius, len(states), size, states.shape[2])
    before, n_steps = states[:, :-1].copy(), states.shape[1] - 1
    forces = _checked_forces(forces, before[..., :2].shape)
    before[..., 2:] += forces / (fps * masses[:, None, :, None])
    repeated = (np.repeat(of, n_steps, axis=0) for of in (radii, masses))
    _, contacts = flow(before.reshape(-1, *before.shape[2:]), 1 / fps, size, *repeated)
    return contacts.reshape(len(states), n_steps)


def flow(states, seconds, size, radii, masses):
    """States (B, N, 4) after `seconds`, and the contacts of bodies on the way, int (B,).

    As `impacts.advance` of one sequence after the other, and equal to it but for rounding. Nothing is
    checked here. `radii` and `masses` are (B, N).
    """
    x, v = (np.ascontiguousarray(part.transpose(1, 2, 0)) for part in (states[..., :2], states[..., 2:]))
    m, r = masses.T, radii.T
    contacts, left = np.zeros(len(states), dtype=int), np.full(len(states), float(seconds))
    active = np.arange(len(states))
    for _ in range(_MAX_ROUNDS):
        here = _Moving(x[..., active], v[..., active], m[:, active], r[:, active], size)
        wait, nearly = here.next_event()
        meets = wait <= left[active]
        odd = meets & nearly
        here.move(np.where(meets, wait, left[active]))
        contacts[active] += here.meet(meets & ~odd)
        for column in active[odd]:
            contacts[column] += _one_by_one(x, v, m, r, left, size, column)
        plain = ~odd
        x[..., active[plain]], v[..., active[plain]] = here.x[..., plain], here.v[..., plain]
        left[active[plain]] -= np.where(meets, wait, 0.0)[plain]
        active = active[meets & ~odd]
        if not active.size:
            break
    for column in active:
        contacts[column] += _one_by_one(x, v, m, r, left, size, column)
    return np.concatenate([x, v], axis=1).transpose(2, 0, 1), contacts


def _one_by_one(x, v, m, r, left, size, column):
    """What is left of one sequence's time, by the flow of one state; its contacts."""
    state = np.concatenate([x[..., column], v[..., column]], axis=1)
    state, contacts = advance(state, left[column], size, r[:, column], m[:, column])
    x[..., column], v[..., column], left[column] = state[:, :2], state[:, 2:], 0.0
    return contacts


class _Moving:
    """Copies of b states on their way to their next events; bodies, then x and y, then sequences."""

    def __init__(self, x, v, m, r, size):
        self.x, self.v, self.m, self.r, self.size = x, v, m, r, size
        self.pairs = list(combinations(range(len(x)), 2))

    def next_event(self):
        """How long until each sequence's next event, (b,), and whether another follows at once."""
        x, v, r = self.x, self.v, self.r[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            gap = np.where(v > 0, self.size - r - x, r - x)
            walls = np.where(v != 0, gap / v, np.inf).reshape(-1, x.shape[-1])
            times = np.concatenate([walls, *(self._contact_time(a, b)[None] for a, b in self.pairs)])
        self.which, columns = times.argmin(axis=0), np.arange(times.shape[1])
        wait = times[self.which, columns]
        times[self.which, columns] = np.inf
        return wait, times.min(axis=0) < wait + _TOGETHER

    def _contact_time(self, a, b):
        """The smaller root of |Δx + t Δv|² = (rₐ + r_b)²; inf where there is none ahead."""
        dx, dv = self.x[b] - self.x[a], self.v[b] - self.v[a]
        closing, reach = -(dx * dv).sum(axis=0), self.r[a] + self.r[b]
        gap = (dx * dx).sum(axis=0) - reach**2
        discriminant = closing**2 - (dv * dv).sum(axis=0) * gap
        root = gap / (closing + np.sqrt(np.maximum(discriminant, 0)))  # without cancellation
        return np.where((closing > 0) & (discriminant >= 0), np.maximum(root, 0.0), np.inf)

    def move(self, seconds):
        self.x = np.clip(self.x + seconds * self.v, self.r[:, None], self.size - self.r[:, None])

    def meet(self, now):
        """Change the velocities of those columns that meet something `now`; contacts of bodies, (b,)."""
        n_walls = 2 * len(self.x)
        columns = np.flatnonzero(now & (self.which < n_walls))
        self.v[self.which[columns] // 2, self.which[columns] % 2, columns] *= -1
        for pair, (a, b) in enumerate(self.pairs):
            columns = np.flatnonzero(now & (self.which == n_walls + pair))
            normal = self.x[b][:, columns] - self.x[a][:, columns]
            normal /= np.sqrt((normal * normal).sum(axis=0))
            closing = ((self.v[b] - self.v[a])[:, columns] * normal).sum(axis=0) * normal
            share = 2 / (self.m[a, columns] + self.m[b, columns])
            self.v[a][:, columns] += share * self.m[b, columns] * closing
            self.v[b][:, columns] -= share * self.m[a, columns] * closing
        return now & (self.which >= n_walls)


def _random_places(rng, radii, size):
    """Uniform over the box, (B, N, 2), drawn anew where bodies overlap."""
    places, open_ = np.empty((*radii.shape, 2)), np.arange(len(radii))
    for _ in range(_MAX_DRAWS):
        r = radii[open_, :, None]
        places[open_] = r + rng.random((*r.shape[:2], 2)) * (size - 2 * r)
        open_ = open_[_least_gap(places[open_], radii[open_]) < _GAP]
        if not open_.size:
            return places
    radius = radii[open_[0]].round(1).tolist()
    raise ValueError(f"no room for bodies of radii {radius} in {size} px found: take fewer or lighter ones")


def _least_gap(places, radii):
    """Between the rims of any two bodies of each sequence: (B, N, 2), (B, N) → (B,)."""
    a, b = np.triu_indices(places.shape[1], 1)
    gaps = np.linalg.norm(places[:, b] - places[:, a], axis=-1) - radii[:, a] - radii[:, b]
    return gaps.min(axis=1, initial=np.inf)


def _checked_sizes(masses, radius, n_sequences, size, n_bodies=None):
    """Masses and radii, float64 (n_sequences, N)."""
    masses = as_floats(masses, "masses")
    wanted = "(N,) or" if n_bodies is None else f"({n_bodies},) or"
    fits = masses.shape[-1:] == (n_bodies,) or (n_bodies is None and masses.shape[-1:] > (0,))
    if not fits or masses.shape[:-1] not in ((), (n_sequences,)):
        width = "N" if n_bodies is None else n_bodies
        raise ValueError(f"masses must be {wanted} ({n_sequences}, {width}), got {masses.shape}")
    if not ((masses > SMALL) & (masses < LARGE)).all():
        worst = masses[~((masses > SMALL) & (masses < LARGE))][0]
        raise ValueError(f"masses must be finite and positive, between 1e-50 and 1e50, got {worst}")
    masses = np.broadcast_to(masses, (n_sequences, masses.shape[-1]))
    radii = UNIT_RADIUS * np.sqrt(masses) if radius is None else as_floats(radius, "radius")
    if radii.shape not in ((), masses.shape[-1:], masses.shape):
        raise ValueError(
            f"radius must be a number, or one a body, here {masses.shape[-1]}; got {radii.shape}"
        )
    for extreme in (radii.min(), radii.max()):
        check_arena(size, float(extreme))
    return masses, np.broadcast_to(radii, masses.shape)


def _checked_forces(forces, shape):
    forces = as_floats(forces, "forces")
    if forces.shape != shape:
        raise ValueError(f"forces must be {shape}, (x, y) of every body for each frame, got {forces.shape}")
    if not (np.abs(forces) < LARGE).all():
        raise ValueError("forces must be finite, below 1e50, got NaN, infinity or more")
    return forces


def _check_places(states, radii, size):
    """`ValueError` for bodies outside the box, in each other, or not finite."""
    if not (np.abs(states) < LARGE).all():
        raise ValueError("states must be finite, below 1e50, got NaN, infinity or more")
    outside = np.abs(states[..., :2] - size / 2) - (size / 2 - radii[..., None])
    where = outside.max(axis=(1, 2))
    if where.max() > tolerance(size):
        raise ValueError(
            f"bodies must lie in the box of {size} px with their rims, sequence {where.argmax()} "
            f"has one {where.max():.4g} px outside"
        )
    gaps = _least_gap(states[..., :2], radii)
    if gaps.min() < -tolerance(size):
        raise ValueError(
            f"bodies overlap in sequence {gaps.argmin()}, by {-gaps.min():.4g} px: move them apart"
        )
