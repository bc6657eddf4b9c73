"""Write and read clips; the only importer of torchcodec."""

import os
import re
import sys
import warnings
from collections import Counter
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import torch

PIECE_BYTES = 2**23  # decoded at once: 42 frames at 256 × 256, 1 in HD
NO_FFMPEG = (
    "torchcodec finds no FFmpeg libraries: install the package ffmpeg "
    "(Debian, Ubuntu: apt-get install ffmpeg; conda: conda install ffmpeg) and start again"
)


def write_video(path, frames, fps=30):
    """Write a lossless mp4 (H.264 in RGB, crf 0): `read_video` returns the same bytes.

    `frames`: uint8 RGB (n_frames, H, W, 3), NumPy or torch, H and W at least 2. The file appears
    under its name only when it is complete. Browsers do not play H.264 in RGB: for a preview use
    `preview_video`. Raises `ValueError` for another dtype or shape, `RuntimeError` without FFmpeg.
    """
    _encode(path, frames, fps, codec="libx264rgb", pixel_format="rgb24", crf=0)


def preview_video(path, frames, fps=30):
    """Write a small lossy mp4 (H.264, 4:2:0) that every browser plays; never use it as data."""
    _encode(path, frames, fps, codec="libx264", pixel_format="yuv420p", crf=23)


def read_video(path):
    """All frames of a video, decoded in one call: uint8 RGB (n_frames, 3, H, W).

    Grey becomes RGB and alpha is dropped. Raises `FileNotFoundError` for a missing file,
    `ValueError` for an empty, truncated or non-video one, `RuntimeError` without FFmpeg.
    """
    decoder = _open(path)
    return _frames(path, decoder, 0, len(decoder))


def stream_video(path, n_frames=None):
    """Yield the frames of `read_video` in order, `n_frames` at a time, by default 8 MB of them.

    Each frame is decoded once. Held are one piece and the file's index. Raises what `read_video`
    raises: what the index tells before the first piece, damage in a picture when it is reached; and
    `ValueError` for `n_frames` below 1.
    """
    if n_frames is not None and n_frames < 1:
        raise ValueError(f"n_frames must be at least 1, got {n_frames}")
    decoder = _open(path)
    if n_frames is None:
        n_frames = max(PIECE_BYTES // (3 * decoder.metadata.height * decoder.metadata.width), 1)
    for start in range(0, len(decoder), n_frames):
        yield _frames(path, decoder, start, min(start + n_frames, len(decoder)))


def _open(path):
    """A decoder of a video that holds all the frames it promises; its length is their number."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no video at {path}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty: write or copy it again")
    decoders = _torchcodec("decoders")
    with _sayable(path):
        # Matroska and WebM promise only a duration, and that of the longest stream: sound may go on.
        seconds = decoders.VideoDecoder(str(path), seek_mode="approximate").metadata.duration_seconds
        decoder = decoders.VideoDecoder(str(path), dimension_order="NCHW", seek_mode="exact")
    promised = decoder.metadata.num_frames_from_header
    if promised and len(decoder) < promised:
        raise ValueError(f"{path} is truncated: {len(decoder)} of {promised} frames; write or copy it again")
    last = decoder.metadata.end_stream_seconds_from_content
    if seconds and last < 0.95 * seconds - 0.5:
        message = f"{path} may be truncated: its pictures end at {last:.1f} of {seconds:.1f} s"
        warnings.warn(message, stacklevel=3)
    return decoder


def _frames(path, decoder, start, stop):
    with _sayable(path):
        frames = decoder[start:stop]
    if frames.shape[1] != 3:
        raise ValueError(f"{path} decodes to {frames.shape[1]} channels, expected 3")
    return frames


@contextmanager
def _sayable(path):
    """Turn what torchcodec says of a file into one sentence."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{path} is not a readable video, or truncated: {_first_line(error)}") from error


def _encode(path, frames, fps, **options):
    frames = torch.as_tensor(frames)
    if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) == 0:
        raise ValueError(
            f"frames must be uint8 (n_frames, H, W, 3), got {frames.dtype} {tuple(frames.shape)}"
        )
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")
    encoder = _torchcodec("encoders").VideoEncoder(frames.permute(0, 3, 1, 2).contiguous(), frame_rate=fps)
    unfinished = path.with_name(f".unfinished-{os.getpid()}-{path.name}")  # `Run.begin` sweeps these up
    try:
        encoder.to_file(str(unfinished), **options)
        unfinished.replace(path)
    except RuntimeError as error:
        raise OSError(f"cannot write {path}: {_first_line(error)}; is the disk full or read-only?") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _torchcodec(part):
    """`torchcodec.decoders` or `.encoders`, which load FFmpeg. `RuntimeError` if they cannot."""
    try:
        module = import_module(f"torchcodec.{part}")  # without FFmpeg, older releases fail here
    except (ImportError, OSError, RuntimeError) as error:
        raise RuntimeError(NO_FFMPEG) from error
    if getattr(sys.modules["torchcodec"], "ffmpeg_major_version", "unknown") is None:  # and newer ones say so
        raise RuntimeError(NO_FFMPEG)
    return module


def _first_line(error):
    """What FFmpeg said, without the place in torchcodec's source."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.sub(r"^.*\.cpp:\d+, ", "", line)


VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".gif")


def find_videos(folder):
    """The videos of a folder, sorted by name. `FileNotFoundError` for a missing folder or an empty one.

    `ValueError` for two of one name but for their endings: latents are kept by that name.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: name a folder of videos")
    videos = sorted(
        path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES and path.name[0] != "."
    )
    if not videos:
        raise FileNotFoundError(f"no videos in {folder}: looked for {', '.join(VIDEO_SUFFIXES)}")
    for stem, n_videos in Counter(video.stem for video in videos).items():
        if n_videos > 1:
            names = " and ".join(video.name for video in videos if video.stem == stem)
            raise ValueError(f"{names} would become the same {stem}.safetensors: rename all but one")
    return videos
