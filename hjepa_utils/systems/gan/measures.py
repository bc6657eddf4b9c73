"""The physics of generated videos, beside that of real ones.

Gates come first: a video that stands still conserves every energy, so nothing is said about the physics of
a generator whose videos do not move as real ones do, or are all alike. Real videos against other real ones
are the floor, the same with their frames in random order a control.
"""

from typing import NamedTuple

import numpy as np

from ...simulators.checks import check_generator
from ...simulators.toy_physics import toy_energy, toy_system
from ...simulators.toy_pictures import to_pixels
from .checks import check_frames, check_kind
from .distances import wasserstein
from .tracks import Motion, find_bodies, motion_of

MOTION_RANGE = (0.7, 1.4)  # of the real videos' motion per frame
LARGEST_DISTANCE = 0.5  # of places and of speeds, in units of the real ones' spread
FEWEST_WHOLE = 20  # videos, for a word about their physics
_STILL = 0.01  # quantile of the real videos' motion: videos below it do not move


class Observed(NamedTuple):
    """What is seen in videos of one system. n videos, m of them whole: every body seen in every frame."""

    system: str
    seen: np.ndarray  # (n, T, n_bodies)
    places: np.ndarray  # (n, n_bodies, 2) in px, at the middle frame; NaN where not seen
    motion: np.ndarray  # (n,) px a frame; NaN where no body is seen in two frames running
    turns: np.ndarray  # (m,) second difference, px a frame²
    motions: Motion  # of (m, T', ·)
    energy: np.ndarray  # (m, T')
    whole: np.ndarray  # (n,)


def observe(system, frames):
    """`Observed` of uint8 videos (n, T, 3, 32, 32). `ValueError` for T below 5, 13 for bodies in orbits."""
    tracks = find_bodies(system, frames)
    pixels = to_pixels(system, np.where(tracks.seen[..., None], tracks.places, np.nan))
    whole, motions = tracks.whole, motion_of(system, tracks.places[tracks.whole])
    energy = toy_energy(system, motions.states) if whole.any() else np.empty(motions.states.shape[:2])
    second = np.diff(pixels[whole], n=2, axis=1)
    return Observed(
        system, tracks.seen, pixels[:, pixels.shape[1] // 2], _mean(np.diff(pixels, axis=1)), _mean(second),
        motions, energy, whole,
    )  # fmt: skip


def gates(made, real):
    """Whether videos count at all: a dict with the measures that decide, and `counts`.

    `motion`, per frame, relative to the real videos'; `places` and `speeds`, Wasserstein distances in units
    of the real ones' spread; `whole_frames`, the share of frames with every body seen once. NaN if no body is
    seen anywhere. Raises `ValueError` for videos of two systems, and real ones without motion.
    """
    _check_pair(made, real)
    moved, move = (one.motion[np.isfinite(one.motion)] for one in (made, real))
    found = {
        "whole_frames": float(made.seen.all(axis=2).mean()),
        "motion": float(moved.mean() / move.mean()) if len(moved) else np.nan,
        "places": _place_distance(made.places, real.places),
        "speeds": wasserstein(moved, move) / move.std() if len(moved) else np.nan,
    }
    low, high = MOTION_RANGE
    varied = all(found[kind] <= LARGEST_DISTANCE for kind in ("places", "speeds"))  # not, if NaN
    return found | {"counts": bool(varied and low <= found["motion"] <= high)}


def physics(made, real):
    """The physics of whole videos that move, relative to that of real ones.

    `whole_videos`: their share of all. `energy_within`: the deviation of the energy along a video (median
    over videos), `energies`: the Wasserstein distance of the videos' energies, both in units of the spread of
    the real ones'. `second_differences` of places, relative to the real ones'. `force_correlation` and
    `force_slope`: ṗ as seen against the true -∂H/∂q there; the slope is the square of the frequency's ratio
    where the force is linear. All but the first are NaN if fewer than `FEWEST_WHOLE` videos are whole and
    move.
    """
    _check_pair(made, real)
    moves = made.motion[made.whole] > np.quantile(real.motion[np.isfinite(real.motion)], _STILL)
    share = {"whole_videos": float(made.whole.mean())}
    if moves.sum() < FEWEST_WHOLE:
        missing = ("energy_within", "energies", "second_differences", "force_correlation", "force_slope")
        return share | dict.fromkeys(missing, np.nan)
    energy, spread = made.energy[moves], real.energy.mean(axis=1).std()
    correlation, slope = _force_law(made.system, *(part[moves] for part in made.motions))
    return share | {
        "energy_within": float(np.median(energy.std(axis=1)) / spread),
        "energies": wasserstein(np.median(energy, axis=1), np.median(real.energy, axis=1)) / spread,
        "second_differences": float(made.turns[moves].mean() / real.turns.mean()),
        "force_correlation": correlation,
        "force_slope": slope,
    }


def measure(system, frames, real):
    """`gates` and `physics` of uint8 videos against an `Observed` of real ones, in one dict."""
    made = observe(system, frames)
    return gates(made, real) | physics(made, real)


def _check_pair(made, real):
    for name, one in (("made", made), ("real", real)):
        check_kind(name, one, Observed)
    if made.system != real.system:
        raise ValueError(f"videos of {made.system} cannot be judged by those of {real.system}")
    motion = real.motion[np.isfinite(real.motion)]
    if real.whole.sum() < 2 or not motion.std() > 0:
        raise ValueError(
            f"real videos must show their bodies in two or more different motions, got {len(real.whole)} "
            f"videos, {real.whole.sum()} of them whole: take others"
        )


def shuffled(frames, rng):
    """Videos with the frames of each in random order, a control that any measure of motion must punish."""
    frames = np.asarray(frames)
    check_frames(frames)
    check_generator(rng)
    order = rng.permuted(np.tile(np.arange(frames.shape[1]), (len(frames), 1)), axis=1)
    return frames[np.arange(len(frames))[:, None], order]


def frozen(frames):
    """Videos that show their first frame all the time, the control that gates must refuse."""
    frames = np.asarray(frames)
    check_frames(frames)
    return np.repeat(frames[:, :1], frames.shape[1], axis=1)


def _mean(steps):
    """Mean length of (n, T, n_bodies, 2) without NaN: (n,), NaN where there is none."""
    lengths = np.linalg.norm(steps, axis=-1)
    there = np.isfinite(lengths)
    with np.errstate(invalid="ignore"):
        return np.where(there, lengths, 0).sum(axis=(1, 2)) / there.sum(axis=(1, 2))


def _place_distance(made, real):
    """The mean over bodies and axes, in units of the spread over both axes; NaN if a body is never seen."""
    made, real = (places.reshape(len(places), -1) for places in (made, real))
    spread = np.sqrt(np.nanvar(real, axis=0).mean())
    columns = [[x[np.isfinite(x)] for x in pair] for pair in zip(made.T, real.T, strict=True)]
    if not all(len(x) for pair in columns for x in pair):
        return np.nan
    return float(np.mean([wasserstein(*pair) for pair in columns]) / spread)


def _force_law(system, states, rates):
    """Correlation and slope of ṗ as seen on the true force, over all videos, times and coordinates."""
    seen, true = rates.ravel(), toy_system(system).flow(*np.split(states, 2, axis=-1))[1].ravel()
    return float(np.corrcoef(seen, true)[0, 1]), float(seen @ true / (true @ true))
