"""A folder of videos becomes a folder of latents: what is right is kept, the rest encoded in batches."""

import json
import platform
import warnings
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ..runs.checks import whole_number
from ..runs.files import explain_write_error, file_hash, json_text
from .clips import encode_videos
from .decoding import first_line
from .files import read_manifest, save_latents
from .names import local_path
from .video import check_ffmpeg, check_stems, frame_rate
from .windows import Clips

_PACKAGES = ("torch", "torchcodec", "transformers")


def encode_folder(
    encoder,
    videos,
    folder,
    *,
    clip_frames=16,
    stride=4,
    stride_seconds=None,
    framing="whole",
    batch_size=None,
    share=(0, 1),
):
    """Latents of many videos, each in `folder/<stem>.safetensors` with a manifest (see `load_latents`).

    A file that is whole and was made from the same video, weights and settings is kept. The others are
    encoded, in batches across videos, and appear when they are complete. After a kill the same call
    continues. `videos` are paths, the options those of `encode_video`.
    `share=(k, n)` takes every n-th video only, from the k-th on, the largest first: for n processes.

    Returns two dicts by the videos' names: what became of those with latents, "kept", "encoded" or
    "encoded anew" (the old file was damaged or stale), and why the others have none. Warns, for the
    share that begins with 0, of frame rates that differ and of files in `folder` without a video.
    Raises `ValueError` for options and shares out of range, for two videos of one stem, for a folder
    that holds one of the videos, and, before anything is written, for a file in the way that this
    function did not make; `RuntimeError` without FFmpeg.
    """
    videos, folder = _checked(videos), Path(folder).expanduser()
    check_apart(videos, folder)
    index, count = (whole_number(number, "share") for number in share)
    if not 0 <= index < count:
        raise ValueError(f"share=(k, n) is the k-th of n, from 0 to n - 1: got {share}")
    check_ffmpeg()
    settings = {"clip_frames": clip_frames, "framing": framing}
    settings |= {"stride": stride} if stride_seconds is None else {"stride_seconds": stride_seconds}
    todo, hashes, rates = [], {}, _Rates()
    hashed = _hashed(todo, hashes)
    latents = encode_videos(encoder, hashed, batch_size=batch_size, rate_of=rates.of, **settings)
    manifest = {"recipe": _recipe(encoder, settings), "made_with": _made_with(encoder, batch_size)}
    manifest = json.loads(json_text(manifest))  # NumPy's numbers become plain ones
    with explain_write_error(folder, "name a folder that can be written"):
        folder.mkdir(parents=True, exist_ok=True)
    targets = {video: folder / f"{video.stem}.safetensors" for video in videos}
    mine = sorted(videos, key=_size, reverse=True)[index::count]
    done = {video.name: _to_do(targets[video], manifest, video, rates) for video in mine}
    todo += [video for video in mine if done[video.name] != "kept"]
    if index == 0:
        _warn_of_rates(videos, rates.of, Clips(clip_frames, stride), stride_seconds)
        _warn_of_others(folder, targets.values())
    options: dict[str, Any] = {"disable": True} if index else {}  # else as TQDM_DISABLE says
    bar = tqdm(total=len(mine), initial=len(mine) - len(todo), desc=folder.name, unit="video", **options)
    with bar:
        failed = _save_all(latents, todo, hashes, rates, targets, manifest, bar)
    return {name: fate for name, fate in done.items() if name not in failed}, failed


def _save_all(latents, todo, hashes, rates, targets, manifest, bar):
    """Write what comes, in the order of `todo`; {name: why not} of the videos that have no latents."""
    failed, left = {}, list(todo)
    try:
        for video, outcome in latents:
            try:
                facts = _facts(video, outcome, hashes[video], rates)
                save_latents(targets[video], outcome, manifest | facts)
            except (ValueError, TypeError, OSError, RuntimeError) as error:
                failed[video.name] = first_line(error)
                _remove_stale(targets[video], manifest, video, rates)
            left.remove(video)
            bar.set_postfix(failed=len(failed), refresh=False)
            bar.update()
    except RuntimeError as error:  # of the batches themselves, on a GPU without memory for one
        failed |= {video.name: first_line(error) for video in left}
    return failed


class _Rates(dict):
    """Frames per second of videos: each file is gone through for it once, as long as it stays the same."""

    def of(self, video):
        key = self._key(video)
        if key not in self:
            self[key] = frame_rate(video)
        return self[key]

    def remember(self, video, rate):
        """What a manifest says, if it says a number."""
        if isinstance(rate, int | float):
            self[self._key(video)] = rate

    @staticmethod
    def _key(video):
        found = local_path(video).stat()
        return video, found.st_ino, found.st_size, found.st_mtime_ns


def _hashed(videos, hashes):
    """Yield the same videos; their hashes are taken just before each is read."""
    for video in videos:
        hashes[video] = _hash(video)
        yield video


def _checked(videos):
    """Paths, of which no two would become the same file."""
    if isinstance(videos, str | Path):
        raise TypeError(f"videos must be a list of paths, got {str(videos)!r}: find_videos lists a folder")
    videos = [Path(video).expanduser() for video in videos]
    check_stems(videos)
    return videos


def check_apart(videos, folder):
    """`ValueError` if a video lies in the folder for the latents: one may be deleted without the other."""
    folder = Path(folder).expanduser().resolve()
    if any(video.parent.resolve() == folder for video in videos):
        raise ValueError(f"{folder} holds the videos: name another folder for the latents")


def _to_do(path, manifest, video, rates):
    """Tell whether the file is to be "kept", because encoding the video would give it: else "encoded"…"""
    found = read_manifest(path)
    if found is None:
        return "encoded anew" if path.exists() else "encoded"
    if found.get("recipe") != manifest["recipe"] or found.get("video_sha256") != _hash(video):
        return "encoded anew"
    rates.remember(video, found.get("fps"))
    return "kept"


def _remove_stale(path, manifest, video, rates):
    """Remove latents of ours that are not those of the video, unless another run has put that right."""
    with suppress(ValueError, OSError):
        if _to_do(path, manifest, video, rates) == "encoded anew":
            path.unlink()


def _facts(video, latents, digest, rates):
    """What the manifest says of the video. Raises the exception in place of the latents, if it is one."""
    if isinstance(latents, Exception):
        raise latents
    if _hash(video) != digest:
        raise ValueError(f"{video.name} changed while it was read: run again")
    return {
        "video": video.name,
        "video_sha256": digest,
        "video_bytes": video.stat().st_size,
        "fps": rates.of(video),
    }


def _recipe(encoder, settings):
    """What the latents depend on, beside the video."""
    dtype = str(encoder.model.dtype).removeprefix("torch.")
    of_encoder = {"weights_sha256": encoder.weights_hash(), "image_size": encoder.image_size, "dtype": dtype}
    return of_encoder | settings | {"compiled": encoder.is_compiled}


def _made_with(encoder, batch_size):
    """What may change their last bits, and a name."""
    name = Path(encoder.name).name if Path(encoder.name).is_dir() else encoder.name  # no path of a machine
    device = torch.cuda.get_device_name(encoder.device) if encoder.device.type == "cuda" else "CPU"
    versions = {"python": platform.python_version()} | {package: version(package) for package in _PACKAGES}
    return {"encoder": name, "batch_size": batch_size, "device": device, "versions": versions}


def _warn_of_rates(videos, rate_of, clips, stride_seconds):
    """One warning if the embeddings of two videos are not equally far apart in time."""
    rates, apart = {}, {}
    for video in videos:
        with suppress(ValueError, OSError):  # told when it is read
            if (rate := rate_of(video)) > 0:
                rates[video] = rate
                apart[video] = (clips.spaced(stride_seconds, rate) if stride_seconds else clips).seconds(rate)
    if not apart:
        return
    slow, fast = max(apart, key=apart.__getitem__), min(apart, key=apart.__getitem__)
    if apart[slow] > 1.01 * apart[fast]:
        of_rates = f"{slow.name} has {rates[slow]:.4g} frames/s, {fast.name} {rates[fast]:.4g}"
        advice = "use stride_seconds (--stride-seconds)"
        if stride_seconds:
            advice = "take a multiple of their frames' intervals"
        message = f"{of_rates}: embeddings are {apart[slow]:.2f} and {apart[fast]:.2f} s apart: {advice}"
        warnings.warn(message, stacklevel=3)


def _warn_of_others(folder, targets):
    """One warning for latents in the folder whose video is not among those given."""
    names = {target.name for target in targets}
    found = folder.glob("*.safetensors")
    others = sorted(path.name for path in found if path.name not in names and path.name[0] != ".")
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        message = f"{', '.join(others[:3])}{more} in {folder}: no such video is among those given"
        warnings.warn(f"{message}; move away what is not wanted", stacklevel=3)


def _size(video):
    return video.stat().st_size if video.is_file() else 0


def _hash(video):
    """SHA-256, or None for what cannot be read or is no file (a pipe has no end): encoding will say why."""
    try:
        return file_hash(video) if video.is_file() else None
    except OSError:
        return None
