"""Equal-sized balls in a square box: exact event-driven motion, and the drawing of it.

Between events a ball moves in a straight line, so the time of the next wall or ball contact is a
root of a linear or a quadratic equation and no time step is involved (Alder & Wainwright, 1959);
`impacts` holds the events. Lengths are pixels, times seconds; x runs right and y runs down, as in the
picture.
"""

import reprlib

import numpy as np

from .checks import (
    LARGE,
    as_floats,
    check_arena,
    check_count,
    check_generator,
    check_positive,
    checked_masses,
    checked_states,
    is_number,
    least_distance,
    real_array,
)
from .impacts import advance

COLOURS = ((0, 255, 255), (255, 0, 0), (0, 255, 0))  # cyan and red as in the paper's figure 2, then green
SPEED_RANGE = (40.0, 200.0)  # px/s; the kinetic energy then varies by about half its mean
_SUBPIXEL_BITS = 8  # cv2.circle takes fixed-point coordinates
_MAX_DRAWS = 10_000  # of starting positions, until one has no overlap
_FARTHEST = 1e6  # px from the picture's corner, where OpenCV's fixed-point numbers still hold


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
    other value, where the arena has no room for the balls, and for more than 10,000 contacts in a frame.
    """
    check_generator(rng)
    check_count(n_frames=n_frames)
    check_positive(fps=fps)
    check_arena(size, radius)
    speeds = as_floats(speeds, "speeds")
    if speeds.shape != (2,) or not 0 <= speeds[0] <= speeds[1] < LARGE:
        raise ValueError(
            f"speeds must be finite (low, high) with 0 <= low <= high < 1e50, got {speeds.tolist()}"
        )
    n_balls = as_floats(masses, "masses, one a ball,").size
    masses = checked_masses(masses, n_balls)
    if starts == "random":
        state = _random_start(rng, size, radius, n_balls, speeds)
    elif starts == "fixed" and n_balls == 2:
        state = _published_start(rng, fps, size)
    elif starts == "fixed":
        raise ValueError(f'starts="fixed" is for two balls, got {n_balls} masses; use starts="random"')
    else:
        raise ValueError(f'starts must be "random" or "fixed", got {starts!r}')
    states = np.empty((n_frames, n_balls, 4))
    states[0] = checked_states(state, size, radius)
    for t in range(1, n_frames):
        states[t], _ = advance(states[t - 1], 1 / fps, size, radius, masses)
    return states


def advance_balls(state, seconds, *, size=256.0, radius=20.0, masses=None):
    """The exact flow of one state: float64 (n_balls, 4) → (n_balls, 4), `seconds` later.

    Walls reverse the normal velocity; a ball–ball contact is elastic and exchanges momentum along the
    line of centres. Where balls meet several others, or a wall, in one instant and the order of these
    contacts would matter, all are solved together: energy and momentum are kept, and neither the order
    of the balls nor a mirror changes the answer. `masses` (n_balls,) are all 1 unless given. Raises
    `ValueError` for overlapping or outside balls, non-finite numbers, wrong shapes, masses that are not
    positive, negative times, and more than 10,000 contacts on the way.
    """
    check_arena(size, radius)
    state = as_floats(state, "a state")
    if state.ndim != 2:
        raise ValueError(f"a state has shape (n_balls, 4), with two or more balls; got {state.shape}")
    state, masses = checked_states(state, size, radius), checked_masses(masses, len(state))
    if not is_number(seconds):
        raise ValueError(f"seconds must be finite and not negative, a number, got {reprlib.repr(seconds)}")
    return advance(state, seconds, size, radius, masses)[0]


def contacts_per_interval(states, *, fps=30, size=256.0, radius=20.0, masses=None):
    """Contacts of all pairs between neighbouring frames: (n_frames, n_balls, 4) → int (n_frames - 1,).

    Every frame is advanced by 1 / `fps`. Raises `ValueError` as `advance_balls` does.
    """
    check_positive(fps=fps)
    check_arena(size, radius)
    states = as_floats(states, "states")
    if states.ndim != 3 or len(states) < 1:
        raise ValueError(f"states have shape (n_frames, n_balls, 4), one frame or more; got {states.shape}")
    states, masses = checked_states(states, size, radius), checked_masses(masses, states.shape[1])
    return np.array([advance(state, 1 / fps, size, radius, masses)[1] for state in states[:-1]], dtype=int)


def kinetic_energy(states, masses=None):
    """½ Σ m |v|² over the balls, in px²/s² for masses of 1, the default: (…, n_balls, 4) → (…).

    In the precision of `states` (whole numbers: float64). Raises `ValueError` for other shapes, and
    masses that are not positive or not one a ball.
    """
    states = real_array(states, "states")
    if states.ndim < 2 or states.shape[-1] != 4:
        raise ValueError(f"states have shape (…, n_balls, 4); got {states.shape}")
    weights = 1.0 if masses is None else checked_masses(masses, states.shape[-2])[:, None]
    return 0.5 * (weights * np.square(states[..., 2:])).sum(axis=(-2, -1))


def render_frames(states, *, size=256, radius=20.0):
    """Draw the balls on black, anti-aliased at sub-pixel positions.

    (n_frames, n_balls, 4) → uint8 RGB (n_frames, size, size, 3). `radius` is a number, or one a ball.
    Pixel (i, j) covers the unit square from (i, j) to (i + 1, j + 1), so a centre x lies at OpenCV's
    coordinate x - 1/2. A ball may lie outside the picture. Raises `ValueError` for more balls than
    `COLOURS`, a size that is not whole, and balls that are not finite or farther than 1e6 px away.
    """
    import cv2  # here, because motion needs no OpenCV

    radii = np.ravel(as_floats(radius, "radius")).tolist()
    for one in radii:
        check_arena(size, one)
    if size != round(size):
        raise ValueError(f"size must be a whole number of pixels, got {size}")
    states, size = real_array(states, "states"), round(size)
    if states.ndim != 3 or states.shape[2] != 4:
        raise ValueError(f"states have shape (n_frames, n_balls, 4); got {states.shape}")
    n_balls = states.shape[1]
    if n_balls > len(COLOURS):
        raise ValueError(f"there are colours for {len(COLOURS)} balls, got {n_balls}; draw fewer balls")
    if len(radii) not in (1, n_balls):
        raise ValueError(f"radius must be a number, or one a ball, here {n_balls}; got {len(radii)}")
    radii = radii * (n_balls // len(radii))
    position = states[..., :2]
    if not (np.abs(position) <= _FARTHEST).all():
        worst = position[~(np.abs(position) <= _FARTHEST)][0]
        raise ValueError(f"balls must be finite and within 1e6 px to be drawn, got a coordinate of {worst}")
    frames = np.zeros((len(states), size, size, 3), np.uint8)
    scale = 1 << _SUBPIXEL_BITS
    for frame, state in zip(frames, states, strict=True):
        for (x, y), r, colour in zip(state[:, :2] - 0.5, radii, COLOURS[:n_balls], strict=True):
            centre = (round(x * scale), round(y * scale))
            cv2.circle(frame, centre, round(r * scale), colour, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)
    return frames


def contact_masks(states, *, size=256.0, radius=20.0, margin=20.0):
    """Which of the steps 1 … T-1 lie where: windows of states (n, T, n_balls, 4) → {place: bool (n, T - 1)}.

    A contact, with a wall or a ball, shows as a changed velocity; "after contact" is every step from
    the first one on. "near a wall": some ball is less than `margin` px from touching one. Raises
    `ValueError` for other shapes and for numbers that are not finite.
    """
    check_arena(size, radius)
    states = real_array(states, "states")
    if states.ndim != 4 or states.shape[3] != 4:
        raise ValueError(f"states have shape (n_windows, n_frames, n_balls, 4); got {states.shape}")
    if not np.isfinite(states).all():
        raise ValueError("states must be finite, got NaN or infinity")
    if not is_number(margin):
        raise ValueError(f"margin must be finite and not negative, a number, got {reprlib.repr(margin)}")
    touched = (np.diff(states[..., 2:], axis=1) != 0).any(axis=(2, 3)).cumsum(axis=1) > 0
    gap = size / 2 - radius - np.abs(states[:, 1:, :, :2] - size / 2)
    near = (gap < margin).any(axis=(2, 3))
    return {
        "before contact": ~touched,
        "after contact": touched,
        "far from walls": ~near,
        "near a wall": near,
    }


def _random_start(rng, size, radius, n_balls, speeds):
    if size < 4 * radius + 2:
        raise ValueError(f"an arena of {size} px is too small for two balls of radius {radius}")
    for _ in range(_MAX_DRAWS):
        position = rng.uniform(radius, size - radius, (n_balls, 2))
        if least_distance(position) > 2 * radius + 1:
            break
    else:
        raise ValueError(f"no room for {n_balls} balls of radius {radius} in {size} px found; take fewer")
    speed, angle = rng.uniform(*speeds, n_balls), rng.uniform(0, 2 * np.pi, n_balls)
    return np.column_stack([position, speed * np.cos(angle), speed * np.sin(angle)])


def _published_start(rng, fps, size):
    vx, vy = 2 + rng.uniform(0, 1, 2), rng.uniform(-1, 1, 2)
    velocity = fps * np.column_stack([vx * [1, -1], vy])
    return np.column_stack([[[size / 4, size / 2], [3 * size / 4, size / 2]], velocity])
