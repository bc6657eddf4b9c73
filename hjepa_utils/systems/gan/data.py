"""Toy Physics on disk: trajectories written once and read window by window; pictures are drawn when needed.

A trajectory takes a hundredth of the place of its pictures or less, and says more.
"""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from ...runs.checks import checked_seed
from ...runs.files import ArtifactError, explain_write_error, file_hash, write_atomically
from ...simulators.checks import check_count, check_generator
from ...simulators.toy_physics import check_friction, simulate_toy, toy_system
from ...simulators.toy_pictures import render_toy
from ...simulators.toy_systems import SYSTEMS

_WRITTEN_TOGETHER = 256  # trajectories
_ELSEWHERE = "name a file in a folder that can be written"


def make_videos(file, system, n, n_frames=512, *, seed, friction=0.0):
    """`ToyVideos` of `n` trajectories, simulated and written to `file` unless it holds just these.

    float32 in safetensors, part by part, so that memory does not grow with `n`. More of the same seed begin
    with these. Raises `ArtifactError` for a file of other settings, or a damaged one, and `OSError` where it
    cannot be written or has no room.
    """
    file, width = Path(file).expanduser(), 2 * toy_system(system).n_coordinates
    check_count(n=n, n_frames=n_frames)
    check_friction(friction)
    n, n_frames, seed = int(n), int(n_frames), checked_seed(seed)
    wanted = {
        "system": system, "n": str(n), "n_frames": str(n_frames), "seed": str(seed),
        "friction": str(float(friction)),
    }  # fmt: skip
    if file.exists():
        videos = ToyVideos(file)
        if videos.settings != wanted:
            raise ArtifactError(
                f"{file} holds other videos ({videos.settings}): delete it, or name another file"
            )
        return videos

    def write(unfinished):
        with open(unfinished, "wb") as out:
            out.write(_header((n, n_frames, width), wanted))
            for first in range(0, n, _WRITTEN_TOGETHER):
                rng = np.random.default_rng([seed, first])
                whole = simulate_toy(system, _WRITTEN_TOGETHER, n_frames, rng=rng, friction=friction)
                out.write(whole[: n - first].astype("<f4").tobytes())

    with explain_write_error(file.parent, _ELSEWHERE):
        file.parent.mkdir(parents=True, exist_ok=True)
    _check_room(file, 4 * n * n_frames * width)
    write_atomically(file, write, _ELSEWHERE)
    return ToyVideos(file)


def _check_room(file, size):
    free = shutil.disk_usage(file.parent).free
    if size > free:
        raise OSError(
            f"{file} would be {size / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free: "
            "ask for fewer videos or frames, or name a file on another disk"
        )


class ToyVideos:
    """Videos of one system from a file of `make_videos`; nothing is read before it is asked for.

    `settings`, and `system`, `n`, `n_frames` of them. Raises `ArtifactError` for a missing, damaged or
    foreign file.
    """

    def __init__(self, file):
        self.file = Path(file).expanduser()
        if self.file.is_dir():
            raise ArtifactError(f"{self.file} is a folder: name a file in it")
        try:
            self._opened = safe_open(self.file, "np")
            self.settings = dict(self._opened.metadata() or {})
            self._states = self._opened.get_slice("states")
            self.system, (self.n, self.n_frames, width) = self.settings["system"], self._states.get_shape()
            said = (self.settings["n"], self.settings["n_frames"], SYSTEMS[self.system].n_coordinates * 2)
            if said != (str(self.n), str(self.n_frames), width) or 0 in (self.n, self.n_frames):
                raise ValueError("other numbers than are said")
        except FileNotFoundError as error:
            raise ArtifactError(f"{self.file} is not there: make it with make_videos") from error
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            raise ArtifactError(
                f"{self.file} is damaged or holds no videos of Toy Physics: delete it, and make it anew"
            ) from error

    def __reduce__(self):
        return ToyVideos, (str(self.file),)

    def fingerprint(self):
        """What a training from these is made from, JSON-able."""
        return {**self.settings, "sha256": file_hash(self.file)}

    def states(self, rng, n, n_frames):
        """`n` random windows of `n_frames` neighbouring states: float64 (n, n_frames, D).

        Raises `ValueError` for counts and an `rng` that are none, and more frames than a video has.
        """
        check_generator(rng)
        check_count(n=n, n_frames=n_frames)
        if not 1 <= n_frames <= self.n_frames:
            raise ValueError(f"{self.file.name} has 1 to {self.n_frames} frames a video, got {n_frames}")
        which = rng.integers(self.n, size=n)
        first = rng.integers(self.n_frames - n_frames + 1, size=n)
        windows = [self._states[i : i + 1, t : t + n_frames] for i, t in zip(which, first, strict=True)]
        whole = np.concatenate(windows).astype(np.float64)
        if not np.isfinite(whole).all():
            raise ArtifactError(f"{self.file} holds NaN or infinity: delete it, and make it anew")
        return whole

    def frames(self, rng, n, n_frames):
        """Their pictures: uint8 tensor (n, n_frames, 3, 32, 32)."""
        return torch.from_numpy(render_toy(self.system, self.states(rng, n, n_frames)))


def _header(shape, words):
    """What precedes the numbers in a safetensors file of one float32 tensor, `states`."""
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * int(np.prod(shape))]}
    text = json.dumps({"__metadata__": words, "states": entry}).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def default_file(folder, system, n, n_frames=512, *, seed):
    """A name that says what is inside."""
    toy_system(system)
    check_count(n=n, n_frames=n_frames)
    seed = checked_seed(seed)
    return Path(os.fspath(folder)) / f"{system}-{n}x{n_frames}-seed{seed}.safetensors"
