"""Pictures of Toy Physics: discs with soft edges, drawn as in the Hamiltonian Dynamics Suite."""

import numpy as np

from .checks import check_count, check_generator
from .toy_physics import halves, toy_system

SIZE = 32  # px
BACKGROUND = (0.321, 0.349, 0.368)
SHARPNESS = 80.0  # of a disc's edge, per width of the picture
_DRAWN_TOGETHER = 512  # frames


def render_toy(system, states, *, n_colours=None, rng=None):
    """Pictures of states (n, n_frames, D): uint8 (n, n_frames, 3, 32, 32).

    A pixel at the distance d from the middle of a disc of radius r is covered by 1 / (1 + e^(80 (d - r))),
    in widths of the picture; the first body lies on top. Rows follow y, so that a pendulum hangs upwards,
    as published. Colours are `n_colours` pure hues (one per body unless given), body by body; with `rng`
    every trajectory draws other ones of them, as the suite does. Raises `ValueError` for an unknown system,
    states of another shape and fewer colours than bodies.
    """
    system = toy_system(system)
    q, _ = halves(system, states)
    if q.ndim != 3:
        raise ValueError(f"states to draw are (n, n_frames, D), got {q.ndim} axes")
    n_bodies = len(system.masses)
    colours = hues(n_bodies if n_colours is None else n_colours)
    if len(colours) < n_bodies:
        raise ValueError(f"{system.name} needs {n_bodies} colours or more, got {n_colours}")
    which = np.broadcast_to(np.arange(n_bodies), (len(q), n_bodies))
    if rng is not None:
        check_generator(rng)
        which = rng.permuted(np.tile(np.arange(len(colours)), (len(q), 1)), axis=1)[:, :n_bodies]
    pictures = np.empty((*q.shape[:2], 3, SIZE, SIZE), np.uint8)
    of_frame = np.repeat(colours[which], q.shape[1], axis=0)
    flat, places = pictures.reshape(-1, 3, SIZE, SIZE), system.places(q.reshape(-1, q.shape[-1]))
    for i in range(0, len(flat), _DRAWN_TOGETHER):
        now = slice(i, i + _DRAWN_TOGETHER)
        flat[now] = _draw(places[now], system.radii, system.reach, of_frame[now])
    return pictures


def hues(n):
    """`n` pure colours, evenly around the circle of hues from red on: (n, 3), RGB in 0 … 1."""
    check_count(n_colours=n)
    around = 6 * np.arange(n)[:, None] / n - np.array([0, 2, 4])  # in sextants, from each of R, G, B
    return np.clip(2 - np.abs((around + 3) % 6 - 3), 0, 1)


def to_pixels(system, places):
    """Places (…, 2) in units of length → columns and rows (…, 2), 0 … 31."""
    reach, places = toy_system(system).reach, np.asarray(places)
    return (places + reach) / (2 * reach) * (SIZE - 1)


def from_pixels(system, pixels):
    """The way back."""
    reach, pixels = toy_system(system).reach, np.asarray(pixels)
    return pixels / (SIZE - 1) * 2 * reach - reach


def _draw(places, radii, reach, colours):
    """(B, N, 2), (N,), (B, N, 3) → uint8 (B, 3, 32, 32)."""
    grid = np.linspace(0, 1, SIZE)
    middle, radii = (places + reach) / (2 * reach), radii / (2 * reach)
    picture = np.broadcast_to(np.array(BACKGROUND)[:, None, None], (len(places), 3, SIZE, SIZE))
    for body in reversed(range(places.shape[1])):
        across, down = (middle[:, body, axis, None] - grid for axis in (0, 1))
        distance = np.sqrt(across[:, None, :] ** 2 + down[:, :, None] ** 2)
        cover = 1 / (1 + np.exp(SHARPNESS * (distance - radii[body])))[:, None]
        picture = cover * colours[:, body, :, None, None] + (1 - cover) * picture
    return (picture * 255).astype(np.uint8)  # cut off, as published
