"""Two equal balls in a square box: exact event-driven motion, and the drawing of it.

Between events a ball moves in a straight line, so the time of the next wall or ball contact is a
root of a linear or a quadratic equation and no time step is involved (Alder & Wainwright, 1959).
Lengths are pixels, times seconds; x runs right and y runs down, as in the picture.
"""

import cv2
import numpy as np

COLOURS = ((0, 255, 255), (255, 0, 0))  # ball 0 cyan, ball 1 red, as in the paper's figure 2
SPEED_RANGE = (40.0, 200.0)  # px/s; the kinetic energy then varies by about half its mean
_SUBPIXEL_BITS = 8  # cv2.circle takes fixed-point coordinates


def simulate_collisions(n_frames=150, *, rng, fps=30, size=256.0, radius=20.0, starts="random"):
    """One video's true states: float64 (n_frames, 2, 4), the last axis x, y in px, vx, vy in px/s.

    `rng` is a `numpy.random.Generator`. `starts="random"`: positions uniform over the arena without
    overlap, speeds uniform in `SPEED_RANGE`, directions uniform. `starts="fixed"`: the published
    notebook's law, balls at (1/4, 1/2) and (3/4, 1/2) of the arena moving towards each other with
    |vx| = 2 + U(0, 1) and vy = U(-1, 1) px/frame. Raises `ValueError` for any other value.
    """
    if not isinstance(rng, np.random.Generator):
        raise ValueError(f"rng must be a numpy.random.Generator, got {type(rng).__name__}")
    if n_frames < 1 or fps <= 0:
        raise ValueError(f"n_frames and fps must be positive, got {n_frames} and {fps}")
    if starts == "random":
        state = _random_start(rng, size, radius)
    elif starts == "fixed":
        state = _published_start(rng, fps, size)
    else:
        raise ValueError(f'starts must be "random" or "fixed", got {starts!r}')
    states = np.empty((n_frames, 2, 4))
    states[0] = state
    for t in range(1, n_frames):
        states[t] = advance_balls(states[t - 1], 1 / fps, size=size, radius=radius)
    return states


def advance_balls(state, seconds, *, size=256.0, radius=20.0):
    """The exact flow of one state: float64 (2, 4) → (2, 4), `seconds` later.

    Walls reverse the normal velocity; a ball–ball contact exchanges the momentum along the line of
    centres (equal masses, elastic). Raises `ValueError` for overlapping or outside balls,
    non-finite numbers, wrong shapes and negative times.
    """
    return _advance(_checked(state, size, radius), seconds, size, radius)[0]


def contacts_per_interval(states, *, fps=30, size=256.0, radius=20.0):
    """Ball–ball contacts between neighbouring frames: (n_frames, 2, 4) → int (n_frames - 1,)."""
    return np.array([_advance(state.copy(), 1 / fps, size, radius)[1] for state in states[:-1]])


def kinetic_energy(states):
    """½ Σ |v|² over the balls, per unit mass, in px²/s²: (…, 2, 4) → (…)."""
    return 0.5 * np.square(states[..., 2:]).sum(axis=(-2, -1))


def render_frames(states, *, size=256, radius=20.0):
    """Draw the balls on black, anti-aliased at sub-pixel positions.

    (n_frames, 2, 4) → uint8 RGB (n_frames, size, size, 3). Pixel (i, j) covers the unit square from
    (i, j) to (i + 1, j + 1), so a centre x lies at OpenCV's coordinate x - 1/2.
    """
    frames = np.zeros((len(states), size, size, 3), np.uint8)
    scale = 1 << _SUBPIXEL_BITS
    for frame, state in zip(frames, states, strict=True):
        for (x, y), colour in zip(state[:, :2] - 0.5, COLOURS, strict=True):
            centre = (round(x * scale), round(y * scale))
            cv2.circle(frame, centre, round(radius * scale), colour, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)
    return frames


def _advance(state, seconds, size, radius):
    """Event loop: the state after `seconds` and the number of ball–ball contacts on the way."""
    if not (np.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"seconds must be finite and not negative, got {seconds}")
    n_contacts = 0
    while True:
        wall_times = _wall_times(state, size, radius)
        contact_time = _contact_time(state, radius)
        wait = min(wall_times.min(), contact_time)
        if wait > seconds:
            return _drift(state, seconds, size, radius), n_contacts
        state = _drift(state, wait, size, radius)
        seconds -= wait
        if contact_time == wait:
            _exchange_normal_momentum(state)
            n_contacts += 1
        else:
            state[:, 2:][wall_times == wait] *= -1


def _drift(state, seconds, size, radius):
    position = state[:, :2] + seconds * state[:, 2:]
    # Rounding may leave a ball 1e-14 px outside; the wall is where it stops.
    return np.hstack([position.clip(radius, size - radius), state[:, 2:]])


def _wall_times(state, size, radius):
    """Time until each coordinate reaches the wall it moves towards: (2, 2); inf at rest."""
    position, velocity = state[:, :2], state[:, 2:]
    gap = np.where(velocity > 0, size - radius - position, radius - position)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(velocity == 0, np.inf, gap / velocity)


def _contact_time(state, radius):
    """Time until the centres are 2 radii apart: the smaller root of |Δx + t Δv|² = 4 radius²."""
    dx, dv = state[1, :2] - state[0, :2], state[1, 2:] - state[0, 2:]
    closing = -dx @ dv
    if closing <= 0:
        return np.inf
    gap = dx @ dx - 4 * radius**2
    discriminant = closing**2 - (dv @ dv) * gap
    if discriminant < 0:
        return np.inf
    return max(0.0, gap / (closing + np.sqrt(discriminant)))  # the root without cancellation


def _exchange_normal_momentum(state):
    normal = state[1, :2] - state[0, :2]
    normal /= np.linalg.norm(normal)
    impulse = (state[1, 2:] - state[0, 2:]) @ normal * normal
    state[0, 2:] += impulse
    state[1, 2:] -= impulse


def _checked(state, size, radius):
    """A float64 copy of a valid state; `ValueError` otherwise."""
    state = np.array(state, dtype=np.float64)
    if state.shape != (2, 4):
        raise ValueError(f"a state has shape (2, 4): x, y, vx, vy of two balls; got {state.shape}")
    if not np.isfinite(state).all():
        raise ValueError(f"a state must be finite, got {state.tolist()}")
    position = state[:, :2]
    if (position < radius - 1e-9).any() or (position > size - radius + 1e-9).any():
        raise ValueError(
            f"ball centres must lie between {radius} and {size - radius}, got {position.tolist()}"
        )
    distance = np.linalg.norm(position[1] - position[0])
    if distance < 2 * radius - 1e-9:
        raise ValueError(f"balls overlap: centres {distance:.6g} px apart, at least {2 * radius} needed")
    return state


def _random_start(rng, size, radius):
    if size < 4 * radius + 2:
        raise ValueError(f"an arena of {size} px is too small for two balls of radius {radius}")
    while True:
        position = rng.uniform(radius, size - radius, (2, 2))
        if np.linalg.norm(position[1] - position[0]) > 2 * radius + 1:
            break
    speed, angle = rng.uniform(*SPEED_RANGE, 2), rng.uniform(0, 2 * np.pi, 2)
    return np.column_stack([position, speed * np.cos(angle), speed * np.sin(angle)])


def _published_start(rng, fps, size):
    vx, vy = 2 + rng.uniform(0, 1, 2), rng.uniform(-1, 1, 2)
    velocity = fps * np.column_stack([vx * [1, -1], vy])
    return np.column_stack([[[size / 4, size / 2], [3 * size / 4, size / 2]], velocity])
