"""Where the bodies are in pictures, and the states of motion that their tracks show."""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage
from scipy.signal import savgol_coeffs

from ...simulators.checks import finite_floats
from ...simulators.toy_physics import DT, toy_places, toy_system
from ...simulators.toy_pictures import BACKGROUND, SIZE, from_pixels, hues, to_pixels
from .checks import check_frames

_FAINT, _HALF = 0.15, 0.5  # covers below the first are noise; above the second lies the disc
_SIZES = (0.65, 1.4)  # of a disc's area, that count as the disc
_WINDOWS = {"two_body": (11, 13), "three_body": (11, 13)}  # frames, for q̇ and q̈; (3, 5) for the others
_INSTANT = 1e-4  # s, to differentiate p along the parabola
_SPECK = 0.1  # of a disc's area: less is no second body


class Motion(NamedTuple):
    states: np.ndarray  # (n, T', D), q then p
    rates: np.ndarray  # (n, T', D/2): ṗ


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
    check_frames(frames)
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


def motion_of(system, places):
    """`Motion` of tracks (n, T, n_bodies, 2), at the T' = T - w + 1 frames in the middle of w neighbours.

    q and q̇ are of the parabola through 3 frames, so plain differences, q̈ of the one that fits w = 5 best. For
    bodies in slow orbits these are 11 and w = 13: a hundredth of a pixel would hide what differs in fewer.
    p and ṗ follow by the true masses. `ValueError` for fewer than w frames, other bodies and NaN.
    """
    known, (few, width) = toy_system(system), _WINDOWS.get(system, (3, 5))
    places, bodies = finite_floats(places, "places"), len(known.masses)
    if places.ndim != 4 or places.shape[2:] != (bodies, 2):
        raise ValueError(f"places of {system} are (n, T, {bodies}, 2), got {places.shape}")
    if places.shape[1] < width:
        raise ValueError(f"the motion of {system} needs {width} frames or more, got {places.shape[1]}")
    if not len(places):  # bodies' coordinates are a reshape, whose sizes no video tells
        none = np.empty((0, places.shape[1] - width + 1, known.n_coordinates))
        return Motion(np.concatenate([none, none], axis=-1), none)
    q = known.coordinates(places)
    if known.angular:
        q = np.unwrap(q, axis=1)
    windows, edge = sliding_window_view(q, width, axis=1), (width - few) // 2
    q, velocity = (windows[..., edge:-edge] @ _parabola(few, order) for order in (0, 1))
    acceleration = windows @ _parabola(width, 2)

    def momenta(time):
        return known.momenta(q + time * velocity, velocity + time * acceleration)

    rates = (momenta(_INSTANT) - momenta(-_INSTANT)) / (2 * _INSTANT)
    return Motion(np.concatenate([q, momenta(0.0)], axis=-1), rates)


def _parabola(width, order):
    """Weights of neighbouring frames for the middle's value, slope or curvature of the best parabola."""
    return savgol_coeffs(width, 2, order, DT, use="dot")


def reading_error(system, states, frames):
    """How far bodies are read from where they are, in px: mean and largest, where they are seen.

    Raises `ValueError` for states (n, T, D) of other videos, and if no body is seen.
    """
    tracks, true = find_bodies(system, frames), toy_places(system, states)
    if true.shape != tracks.places.shape or not tracks.seen.any():
        raise ValueError(
            f"{tracks.seen.sum()} bodies are seen in frames {np.shape(frames)}, and states are "
            f"{np.shape(states)}: draw the frames of these states"
        )
    apart = to_pixels(system, tracks.places) - to_pixels(system, true)
    error = np.linalg.norm(apart, axis=-1)[tracks.seen]
    return float(error.mean()), float(error.max())
