"""Equal-sized balls in a square box: exact event-driven motion, and the drawing of it.

Between events a ball moves in a straight line, so the time of the next wall or ball contact is a
root of a linear or a quadratic equation and no time step is involved (Alder & Wainwright, 1959).
Lengths are pixels, times seconds; x runs right and y runs down, as in the picture.
"""

from itertools import combinations

import cv2
import numpy as np

COLOURS = ((0, 255, 255), (255, 0, 0), (0, 255, 0))  # cyan and red as in the paper's figure 2, then green
SPEED_RANGE = (40.0, 200.0)  # px/s; the kinetic energy then varies by about half its mean
_SUBPIXEL_BITS = 8  # cv2.circle takes fixed-point coordinates
_MAX_DRAWS = 10_000  # of starting positions, until one has no overlap


def simulate_collisions(
    n_frames=150,
    *,
    rng,
    fps=30,
    size=256.0,
    radius=20.0,
    starts="random",
    masses=(1.0, 1.0),
    speeds=SPEED_RANGE,
):
    """One video's true states: float64 (n_frames, n_balls, 4), the last axis x, y in px, vx, vy in px/s.

    `rng` is a `numpy.random.Generator`; `masses` has one number per ball, at least two.
    `starts="random"`: positions uniform over the arena without overlap, speeds uniform in `speeds`
    (low, high) in px/s, directions uniform. `starts="fixed"`: the published notebook's law for two
    balls, which sets its own speeds: they start at (1/4, 1/2) and (3/4, 1/2) of the arena and move
    towards each other with |vx| = 2 + U(0, 1) and vy = U(-1, 1) px/frame. Raises `ValueError` for any
    other value, and where the arena has no room for the balls.
    """
    if not isinstance(rng, np.random.Generator):
        raise ValueError(f"rng must be a numpy.random.Generator, got {type(rng).__name__}")
    if n_frames < 1 or fps <= 0:
        raise ValueError(f"n_frames and fps must be positive, got {n_frames} and {fps}")
    if np.shape(speeds) != (2,) or not 0 <= speeds[0] <= speeds[1] < np.inf:
        raise ValueError(f"speeds must be finite (low, high) with 0 <= low <= high, got {speeds}")
    n_balls = np.size(masses)
    masses = _checked_masses(masses, n_balls)
    if starts == "random":
        state = _random_start(rng, size, radius, n_balls, speeds)
    elif starts == "fixed" and n_balls == 2:
        state = _published_start(rng, fps, size)
    elif starts == "fixed":
        raise ValueError(f'starts="fixed" is for two balls, got {n_balls} masses; use starts="random"')
    else:
        raise ValueError(f'starts must be "random" or "fixed", got {starts!r}')
    states = np.empty((n_frames, n_balls, 4))
    states[0] = state
    for t in range(1, n_frames):
        states[t] = advance_balls(states[t - 1], 1 / fps, size=size, radius=radius, masses=masses)
    return states


def advance_balls(state, seconds, *, size=256.0, radius=20.0, masses=None):
    """The exact flow of one state: float64 (n_balls, 4) → (n_balls, 4), `seconds` later.

    Walls reverse the normal velocity; a ball–ball contact is elastic and exchanges momentum along the
    line of centres. `masses` (n_balls,) are all 1 unless given. Raises `ValueError` for overlapping or
    outside balls, non-finite numbers, wrong shapes, masses that are not positive and negative times.
    """
    state = _checked(state, size, radius)
    return _advance(state, seconds, size, radius, _checked_masses(masses, len(state)))[0]


def contacts_per_interval(states, *, fps=30, size=256.0, radius=20.0, masses=None):
    """Contacts of all pairs between neighbouring frames: (n_frames, n_balls, 4) → int (n_frames - 1,)."""
    masses = _checked_masses(masses, states.shape[1])
    return np.array([_advance(state.copy(), 1 / fps, size, radius, masses)[1] for state in states[:-1]])


def kinetic_energy(states, masses=None):
    """½ Σ m |v|² over the balls, in px²/s² for masses of 1, the default: (…, n_balls, 4) → (…)."""
    weights = 1.0 if masses is None else _checked_masses(masses, states.shape[-2])[:, None]
    return 0.5 * (weights * np.square(states[..., 2:])).sum(axis=(-2, -1))


def render_frames(states, *, size=256, radius=20.0):
    """Draw the balls on black, anti-aliased at sub-pixel positions.

    (n_frames, n_balls, 4) → uint8 RGB (n_frames, size, size, 3). Pixel (i, j) covers the unit square
    from (i, j) to (i + 1, j + 1), so a centre x lies at OpenCV's coordinate x - 1/2. Raises
    `ValueError` for more balls than `COLOURS`.
    """
    n_balls = states.shape[1]
    if n_balls > len(COLOURS):
        raise ValueError(f"there are colours for {len(COLOURS)} balls, got {n_balls}; draw fewer balls")
    frames = np.zeros((len(states), size, size, 3), np.uint8)
    scale = 1 << _SUBPIXEL_BITS
    for frame, state in zip(frames, states, strict=True):
        for (x, y), colour in zip(state[:, :2] - 0.5, COLOURS[:n_balls], strict=True):
            centre = (round(x * scale), round(y * scale))
            cv2.circle(frame, centre, round(radius * scale), colour, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)
    return frames


def _advance(state, seconds, size, radius, masses):
    """Event loop: the state after `seconds` and the number of ball–ball contacts on the way."""
    if not (np.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"seconds must be finite and not negative, got {seconds}")
    pairs = list(combinations(range(len(state)), 2))
    n_contacts = 0
    while True:
        wall_times = _wall_times(state, size, radius)
        contact_time, *pair = min((_contact_time(*state[[a, b]], radius), a, b) for a, b in pairs)
        wait = min(wall_times.min(), contact_time)
        if wait > seconds:
            return _drift(state, seconds, size, radius), n_contacts
        state = _drift(state, wait, size, radius)
        seconds -= wait
        if contact_time == wait:
            _exchange_normal_momentum(state, masses, *pair)
            n_contacts += 1
        else:
            state[:, 2:][wall_times == wait] *= -1


def _drift(state, seconds, size, radius):
    position = state[:, :2] + seconds * state[:, 2:]
    # Rounding may leave a ball 1e-14 px outside; the wall is where it stops.
    return np.hstack([position.clip(radius, size - radius), state[:, 2:]])


def _wall_times(state, size, radius):
    """Time until each coordinate reaches the wall it moves towards: (n_balls, 2); inf at rest."""
    position, velocity = state[:, :2], state[:, 2:]
    gap = np.where(velocity > 0, size - radius - position, radius - position)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(velocity == 0, np.inf, gap / velocity)


def _contact_time(first, second, radius):
    """Time until two centres are 2 radii apart: the smaller root of |Δx + t Δv|² = 4 radius²."""
    dx, dv = second[:2] - first[:2], second[2:] - first[2:]
    closing = -dx @ dv
    if closing <= 0:
        return np.inf
    gap = dx @ dx - 4 * radius**2
    discriminant = closing**2 - (dv @ dv) * gap
    if discriminant < 0:
        return np.inf
    return max(0.0, gap / (closing + np.sqrt(discriminant)))  # the root without cancellation


def _exchange_normal_momentum(state, masses, a, b):
    """Give balls a and b, in place, the impulse 2 mₐ m_b / (mₐ + m_b) (Δv · n) n with opposite signs."""
    normal = state[b, :2] - state[a, :2]
    normal /= np.linalg.norm(normal)
    closing = (state[b, 2:] - state[a, 2:]) @ normal * normal
    state[a, 2:] += 2 * masses[b] / (masses[a] + masses[b]) * closing
    state[b, 2:] -= 2 * masses[a] / (masses[a] + masses[b]) * closing


def _checked(state, size, radius):
    """A float64 copy of a valid state; `ValueError` otherwise."""
    state = np.array(state, dtype=np.float64)
    if state.ndim != 2 or state.shape[1] != 4 or len(state) < 2:
        raise ValueError(f"a state has shape (n_balls, 4), with two or more balls; got {state.shape}")
    if not np.isfinite(state).all():
        raise ValueError(f"a state must be finite, got {state.tolist()}")
    position = state[:, :2]
    if (position < radius - 1e-9).any() or (position > size - radius + 1e-9).any():
        raise ValueError(
            f"ball centres must lie between {radius} and {size - radius}, got {position.tolist()}"
        )
    distance = _least_distance(position)
    if distance < 2 * radius - 1e-9:
        raise ValueError(f"balls overlap: centres {distance:.6g} px apart, at least {2 * radius} needed")
    return state


def _checked_masses(masses, n_balls):
    """One mass per ball, float64 (n_balls,), all 1 for `None`; `ValueError` otherwise."""
    masses = np.ones(n_balls) if masses is None else np.array(masses, dtype=np.float64)
    if n_balls < 2 or masses.shape != (n_balls,):
        raise ValueError(
            f"masses must be one a ball, for 2 balls or more (here {n_balls}), got {masses.tolist()}"
        )
    if not (np.isfinite(masses) & (masses > 0)).all():
        raise ValueError(f"masses must be finite and positive, got {masses.tolist()}")
    return masses


def _least_distance(position):
    return min(np.linalg.norm(second - first) for first, second in combinations(position, 2))


def _random_start(rng, size, radius, n_balls, speeds):
    if size < 4 * radius + 2:
        raise ValueError(f"an arena of {size} px is too small for two balls of radius {radius}")
    for _ in range(_MAX_DRAWS):
        position = rng.uniform(radius, size - radius, (n_balls, 2))
        if _least_distance(position) > 2 * radius + 1:
            break
    else:
        raise ValueError(f"no room for {n_balls} balls of radius {radius} in {size} px found; take fewer")
    speed, angle = rng.uniform(*speeds, n_balls), rng.uniform(0, 2 * np.pi, n_balls)
    return np.column_stack([position, speed * np.cos(angle), speed * np.sin(angle)])


def _published_start(rng, fps, size):
    vx, vy = 2 + rng.uniform(0, 1, 2), rng.uniform(-1, 1, 2)
    velocity = fps * np.column_stack([vx * [1, -1], vy])
    return np.column_stack([[[size / 4, size / 2], [3 * size / 4, size / 2]], velocity])


def contact_masks(states, *, size=256.0, radius=20.0, margin=20.0):
    """Which of the steps 1 … T-1 lie where: windows of states (n, T, n_balls, 4) → {place: bool (n, T - 1)}.

    A contact, with a wall or a ball, shows as a changed velocity; "after contact" is every step from
    the first one on. "near a wall": some ball is less than `margin` px from touching one.
    """
    touched = (np.diff(states[..., 2:], axis=1) != 0).any(axis=(2, 3)).cumsum(axis=1) > 0
    gap = size / 2 - radius - np.abs(states[:, 1:, :, :2] - size / 2)
    near = (gap < margin).any(axis=(2, 3))
    return {
        "before contact": ~touched,
        "after contact": touched,
        "far from walls": ~near,
        "near a wall": near,
    }
