"""Where the bodies are in pictures, and the states of motion that their tracks show."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from ...simulators.toy_physics import DT, toy_places, toy_system
from ...simulators.toy_pictures import BACKGROUND, SIZE, from_pixels, hues, to_pixels

_FAINT, _HALF = 0.15, 0.5  # covers below the first are noise; above the second lies the disc
_SIZES = (0.65, 1.4)  # of a disc's area, that count as the disc
_SPECK = 0.1  # of a disc's area: less is no second body


class Tracks(NamedTuple):
    places: np.ndarray  # (n, T, n_bodies, 2) in units of length; NaN where nothing of that colour is seen
    seen: np.ndarray  # (n, T, n_bodies): one disc of that colour, and of about the right size

    @property
    def whole(self):
        """Videos with every body seen once in all frames: (n,)."""
        return np.asarray(self.seen.all(axis=(1, 2)))


def find_bodies(system, frames):
    """`Tracks` of uint8 frames (n, T, 3, 32, 32), drawn with one hue per body.

    A pixel's colour is a mixture of the background and the hues; a body is at the centroid of its share, and
    is seen if its share forms one disc of the right size. Raises `ValueError` for other frames.
    """
    frames = np.asarray(frames)
    if frames.ndim != 5 or frames.shape[2:] != (3, SIZE, SIZE) or frames.dtype != np.uint8:
        raise ValueError(
            f"frames are uint8 (n, T, 3, {SIZE}, {SIZE}), got {frames.dtype} {frames.shape}"
        )  # fmt: skip
    known, back = toy_system(system), np.array(BACKGROUND)
    unmix = np.linalg.pinv((hues(len(known.masses)) - back).T)  # (n_bodies, 3)
    colour = frames.astype(np.float32) / 255 - back[:, None, None].astype(np.float32)
    cover = np.einsum("bc,ntcyx->ntbyx", unmix.astype(np.float32), colour, optimize=True)
    weight = np.where(cover > _FAINT, np.minimum(cover, 1), 0)
    total, grid = weight.sum(axis=(-1, -2)), np.arange(SIZE)
    with np.errstate(invalid="ignore"):
        centre = np.stack([(weight * axis).sum(axis=(-1, -2)) / total for axis in (grid, grid[:, None])], -1)
    areas = np.pi * (known.radii / (2 * known.reach) * (SIZE - 1)) ** 2
    return Tracks(from_pixels(system, centre), _one_disc(cover > _HALF, areas))


def _one_disc(covered, areas):
    """(n, T, N, 32, 32), (N,) → (n, T, N): one connected blob that is no speck, of the disc's size."""
    flat = covered.reshape(-1, SIZE, SIZE)
    area = np.broadcast_to(areas, covered.shape[:3]).ravel()
    within = np.zeros((3, 3, 3), bool)
    within[1] = True  # blobs do not reach into the next picture
    blobs = np.zeros(flat.shape, np.int32)
    ndimage.label(flat, within, output=blobs)
    inside, blobs = np.flatnonzero(blobs), blobs[blobs > 0] - 1
    sizes = np.bincount(blobs)
    picture = np.zeros(len(sizes), int)
    picture[blobs] = inside // SIZE**2
    bodies = np.bincount(picture[sizes > _SPECK * area[picture]], minlength=len(flat))
    right = (sizes > _SIZES[0] * area[picture]) & (sizes < _SIZES[1] * area[picture])
    fitting = np.bincount(picture[right], minlength=len(flat))
    return ((bodies == 1) & (fitting == 1)).reshape(covered.shape[:3])


def states_of(system, places):
    """States at the frames 1 … T - 2 of tracks (n, T, n_bodies, 2): float64 (n, T - 2, D).

    q̇ by central differences, so p is off by a factor (1 - (ω dt)²/6) for a motion of frequency ω.
    Raises `ValueError` for fewer than 3 frames.
    """
    if places.shape[1] < 3:
        raise ValueError(f"velocities need 3 frames or more, got {places.shape[1]}")
    known = toy_system(system)
    q = known.coordinates(places)
    if known.angular:
        q = np.unwrap(q, axis=1)
    velocity = (q[:, 2:] - q[:, :-2]) / (2 * DT)
    return np.concatenate([q[:, 1:-1], known.momenta(q[:, 1:-1], velocity)], axis=-1)


def reading_error(system, states, frames):
    """How far bodies are read from where they are, in px: mean and largest, where they are seen."""
    tracks = find_bodies(system, frames)
    apart = to_pixels(system, tracks.places) - to_pixels(system, toy_places(system, states))
    error = np.linalg.norm(apart, axis=-1)[tracks.seen]
    return float(error.mean()), float(error.max())
