"""Read, write and find videos."""

import mimetypes
import os
import sys
import warnings
from collections import Counter
from numbers import Real
from pathlib import Path

import numpy as np
import torch

from ..runs.checks import whole_number
from ..runs.files import write_atomically
from .decoding import first_line, indexed, pieces, sayable, torchcodec_part
from .facts import facts_of
from .names import is_utf8, local_path, printable

WRITABLE = (".mp4", ".mkv", ".mov", ".avi")
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".mpg", ".mpeg", ".m2v", ".vob"),
    *(".ts", ".mts", ".m2ts", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".ogm", ".mxf"),
    *(".dv", ".divx", ".mjpeg", ".mjpg", ".apng"),
)
OTHER_SUFFIXES = (
    ".h264",
    ".264",
    ".h265",
    ".hevc",
    ".265",
    ".ivf",
    ".y4m",
    ".rm",
    ".rmvb",
    ".insv",
    ".lrv",
    ".wtv",
)


def write_video(path, frames, fps=30):
    """Write a lossless video (H.264 in RGB, crf 0): `read_video` returns the same bytes.

    `frames`: uint8 RGB (n_frames, H, W, 3), NumPy or torch, H and W at least 2; `path` ends in .mp4,
    .mkv, .mov or .avi. The file appears under its name only when it is complete. Browsers do not
    play H.264 in RGB: for a preview use `preview_video`. Raises `TypeError` for what are no frames,
    `ValueError` for another dtype, shape, rate or ending, `OSError` where it cannot be written,
    `RuntimeError` without FFmpeg or its H.264 encoder.
    """
    _encode(path, frames, fps, codec="libx264rgb", pixel_format="rgb24", crf=0)


def preview_video(path, frames, fps=30):
    """Write a small lossy mp4 (H.264, 4:2:0) that every browser plays; never use it as data.

    H and W must be even. Raises what `write_video` raises.
    """
    _encode(path, frames, fps, codec="libx264", pixel_format="yuv420p", crf=23)


def read_video(path):
    """All frames of a video, as a player shows them: uint8 RGB (n_frames, 3, H, W).

    Rotation and edit lists are applied, and pixels that are not square are made so by enlarging the
    picture along their longer side. Grey becomes RGB, alpha is dropped, frames stand in the order of display.
    Times are ignored: frames count as evenly spaced.

    Raises `FileNotFoundError` for a missing file, `ValueError` for a URL and for a file that is empty,
    truncated, no video, changes its size or cannot be decoded to its end, `TypeError` for what is no
    path, `RuntimeError` without FFmpeg. Warns of uneven times, frames that could not be decoded, a
    file shorter than it says or cut within its last packet, fields and HDR. It cannot know of a cut
    between two packets where no header gives a length or number: in MPEG streams (.ts, .mpg, .vob,
    .m2v, .m1v, .m4v), .mjpeg, and whatever was recorded to a pipe. Nor can it detect bits that flipped
    in storage: FFmpeg conceals most of them and torchcodec does not pass its log on. Where that
    matters, compare hashes and count frames.
    """
    parts = [frames for frames, _ in pieces(path, sys.maxsize)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def stream_video(path, n_frames=None):
    """Yield the frames of `read_video` in order, `n_frames` at a time, by default 8 MB of them.

    Each frame is decoded once. Memory holds one piece and the file's index. Raises and warns as
    `read_video` does: what the index tells before the first piece, damage in a picture when it is
    reached, of times and lost frames after the last; `ValueError` for `n_frames` below 1, `TypeError`
    for what is no whole number.
    """
    n_frames = None if n_frames is None else whole_number(n_frames, "n_frames")
    if n_frames is not None and n_frames < 1:
        raise ValueError(f"n_frames must be at least 1, got {n_frames}")
    return (frames for frames, _ in pieces(path, n_frames))


def frame_times(path):
    """When each frame of a video is shown, float64 (n_frames,) in seconds; NaN where the file says nothing.

    Decodes the video once. Raises and warns as `read_video` does.
    """
    return torch.cat([times for _, times in pieces(path)])


def video_facts(path):
    """`VideoFacts` of a video from its index, nothing decoded; raises what `read_video` raises then.

    The index is made by going through the whole file once.
    """
    path = local_path(path)
    with sayable(path):
        return facts_of(path, indexed(path).metadata)


def frame_rate(path):
    """Frames per second of a video, on average; raises what `read_video` raises of its index."""
    return video_facts(path).fps


def check_ffmpeg():
    """`RuntimeError` that says what to install if there are no FFmpeg libraries."""
    torchcodec_part("decoders")


def _checked(path, frames, fps):
    """The path, the frames as a dense tensor; `TypeError`, `ValueError` or `OSError` for any other."""
    try:
        if isinstance(frames, np.ndarray):  # torch takes no flipped view and warns of a read-only one
            frames = np.require(frames, requirements=["C", "W"])
        frames = torch.as_tensor(frames).cpu().contiguous()
    except (TypeError, ValueError, RuntimeError) as error:  # sparse, or on "meta": no pixels
        what = (
            f"{type(frames).__name__} of {frames.dtype}"
            if hasattr(frames, "dtype")
            else type(frames).__name__
        )
        raise TypeError(f"frames must be a NumPy array or a dense tensor of uint8, got {what}") from error
    if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) == 0:
        raise ValueError(
            f"frames must be uint8 (n_frames, H, W, 3), got {frames.dtype} {tuple(frames.shape)}"
        )
    if min(frames.shape[1:3]) < 2:
        raise ValueError(f"a video needs at least 2×2 pixels, got {_size(frames)}")
    if not isinstance(fps, Real) or fps <= 0 or not fps < 2**31:
        raise ValueError(f"fps must be a number above 0 and below 2**31, got {fps!r}")
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"a video is named by a path (str or Path), got {type(path).__name__}")
    if "\0" in os.fspath(path) or not is_utf8(path):
        raise ValueError(f"cannot write {printable(path)!r}: a name is UTF-8 without a zero byte")
    path = Path(path).expanduser()
    if path.suffix.lower() not in WRITABLE:
        raise ValueError(f"cannot write {path}: write {', '.join(WRITABLE)}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")
    return path, frames


def _size(frames):
    return f"{frames.shape[2]}×{frames.shape[1]}"


def _encode(path, frames, fps, **options):
    path, frames = _checked(path, frames, fps)
    if options["pixel_format"] == "yuv420p" and (frames.shape[1] % 2 or frames.shape[2] % 2):
        raise ValueError(f"preview_video needs even sides, got {_size(frames)}")
    encoder = torchcodec_part("encoders").VideoEncoder(
        frames.permute(0, 3, 1, 2).contiguous(), frame_rate=float(fps)
    )

    def encode(unfinished):
        try:
            encoder.to_file(unfinished, **options)
        except RuntimeError as error:
            if "odec" in str(error) and "not found" in str(error):
                raise RuntimeError(
                    f"FFmpeg has no {options['codec']} ({first_line(error)}): install one with x264"
                ) from error
            if "avcodec_open2" in str(error):
                raise ValueError(
                    f"cannot write {path}: {options['codec']} encodes no {_size(frames)} pixels at {fps} "
                    "frames per second: take smaller frames or a rate between 1/1000 and 1000"
                ) from error
            raise OSError(f"{first_line(error)}; is the disk full or read-only?") from error

    try:
        write_atomically(path, encode)
    except OSError as error:
        reason = error.__cause__ or error
        raise OSError(f"cannot write {path}: {getattr(reason, 'strerror', None) or reason}") from error


def find_videos(folder):
    """The videos of a folder, sorted by name, by their endings `VIDEO_SUFFIXES`.

    Warns of what looks like a video and is left out: other endings, sub-folders, names that are not
    UTF-8. Raises `FileNotFoundError` for a missing folder or one without videos, `ValueError` for two names
    that differ only in their endings: latents go by the name.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: name a folder of videos")
    seen = sorted(path for path in folder.iterdir() if path.name[0] != ".")
    videos = [path for path in seen if _has_ending(path) and is_utf8(path) and not path.is_dir()]
    found = set(videos)
    left_out = [name for path in seen if path not in found and (name := _why_left_out(path))]
    if left_out:
        more = f" and {len(left_out) - 8} more" if len(left_out) > 8 else ""
        warnings.warn(f"left out of {folder}: {', '.join(left_out[:8])}{more}", stacklevel=2)
    if not videos:
        raise FileNotFoundError(f"no videos in {folder}: looked for {', '.join(VIDEO_SUFFIXES)}")
    check_stems(videos)
    return videos


def check_stems(videos):
    """`ValueError` for two paths of one name but for their endings: latents are kept by that name."""
    for stem, n_videos in Counter(video.stem for video in videos).items():
        if n_videos > 1:
            twins = [video for video in videos if video.stem == stem]
            one_folder = len({video.parent for video in twins}) == 1
            names = " and ".join(video.name if one_folder else str(video) for video in twins)
            raise ValueError(f"{names} would become the same {stem}.safetensors: rename all but one")


def _has_ending(path):
    return path.suffix.lower() in VIDEO_SUFFIXES and path.name[0] != "."


def _why_left_out(path):
    """The name of what looks like a video and is none to `find_videos`, with the reason, or None."""
    if path.is_dir():
        inside = os.access(path, os.R_OK | os.X_OK) and any(map(_has_ending, path.iterdir()))
        return f"{printable(path.name)}/ (a folder: name it in a call of its own)" if inside else None
    if _has_ending(path):
        return f"{printable(path.name)} (the name is not UTF-8: rename it)"
    kind = mimetypes.guess_type(path.name)[0] or ""
    if kind.startswith("video/") or path.suffix.lower() in OTHER_SUFFIXES:
        return f"{printable(path.name)} (make it an mp4: ffmpeg -i {printable(path.name)} {path.stem}.mp4)"
    return None
