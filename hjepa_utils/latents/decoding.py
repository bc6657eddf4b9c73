"""Decode a video from its first frame to its last, and say what is wrong with it.

The only importer of torchcodec.
"""

import os
import re
import sys
import warnings
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import torch

from .containers import bytes_missing, is_interlaced, kind

PIECE_BYTES = 2**23  # decoded at once: 42 frames at 256 × 256, 1 in HD
BEFORE_ALL = -(2**63)  # FFmpeg's time of a frame that has none
HDR = {"smpte2084": "PQ", "arib-std-b67": "HLG"}
NO_FFMPEG = (
    "torchcodec finds no FFmpeg libraries: install the package ffmpeg "
    "(Debian, Ubuntu: apt-get install ffmpeg; conda: conda install ffmpeg) and start again"
)


class VideoFacts(NamedTuple):
    """What a file and its index say of a video, nothing decoded."""

    fps: float  # frames per second, on average
    n_frames: int  # in the index; a stream stored in single fields counts both
    seconds: float
    width: int  # as stored, after the rotation
    height: int
    pixel_aspect: float  # width of a pixel over its height, after the rotation
    rotation: int  # degrees counter-clockwise, already applied to what is read
    transfer: str  # of light to numbers: "bt709", "smpte2084" (PQ), "arib-std-b67" (HLG), "unknown"
    interlaced: bool  # stored in fields, see `is_interlaced`


def local_path(path):
    """The path of a file that is there, or one sentence."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"a video is named by a path (str or Path), got {type(path).__name__}")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", os.fspath(path)):
        raise ValueError(f"URLs are not read: download {os.fspath(path)} first and name the file")
    path = Path(path).expanduser()
    try:
        is_file = path.is_file()
    except OSError as error:  # a name too long, a folder that may not be looked into
        raise OSError(f"cannot read {printable(path)}: {error.strerror}") from error
    if not is_file:
        raise FileNotFoundError(f"no video at {printable(path)}")
    if not is_utf8(path):
        raise ValueError(f"{printable(path)}: the name is not UTF-8, rename the file")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty: write or copy it again")
    return path


def _file_name(path):
    """From the root on: FFmpeg takes what stands before a colon at the start of a name for a protocol."""
    return str(path.absolute())


def is_utf8(path):
    return printable(path) == str(path)


def printable(path):
    return str(path).encode(errors="backslashreplace").decode()


def pieces(path, n_frames=None):
    """Yield (frames, their times) in order, and warn of what a reader should know."""
    path = local_path(path)
    with sayable(path):
        decoder = indexed(path)
    metadata, n_expected = decoder.metadata, len(decoder)
    facts = facts_of(path, metadata)
    aspect = _warn_of_facts(path, facts)
    held, times, n_held = None, [], 0
    for frame in _in_order(path, decoder):
        if held is None:
            shape = frame.data.shape
            n_frames = n_frames or max(PIECE_BYTES // frame.data.numel(), 1)
        if frame.data.shape != shape:
            sizes = " then ".join(f"{width}×{height}" for _, height, width in (shape, frame.data.shape))
            raise ValueError(
                f"{path} changes size at frame {len(times)}: {sizes}; give it one: {_remake(path)}"
            )
        if n_held == 0:
            room = min(n_frames, n_expected - len(times)) if n_expected > len(times) else min(n_frames, 64)
            held = frame.data.new_empty(room, *shape[1:], shape[0]).permute(0, 3, 1, 2)
        held[n_held] = frame.data
        times.append(frame.pts_seconds if abs(frame.pts_seconds) < 1e9 else float("nan"))
        n_held += 1
        if n_held == len(held):
            yield _square(held, aspect), torch.tensor(times[-n_held:], dtype=torch.float64)
            n_held = 0
    if not times:
        raise ValueError(f"{path} holds no frame that can be decoded: copy or export it again")
    if n_held:
        yield _square(held[:n_held], aspect), torch.tensor(times[-n_held:], dtype=torch.float64)
    _warn_of_times(path, torch.tensor(times, dtype=torch.float64), metadata, facts.interlaced)


def indexed(path):
    """A decoder that has gone through the whole file and counted its frames, or one sentence."""
    decoder = torchcodec_part("decoders").VideoDecoder(
        _file_name(path), dimension_order="NCHW", seek_mode="exact"
    )
    metadata = decoder.metadata
    if metadata.num_frames_from_content <= 1 and kind(path) in ("png", "jpeg", "webp", "bmp", "tiff"):
        raise ValueError(f"{path} is a picture, not a video")
    # Fewer than the header counts are as many as a player shows of a trimmed film or of an AVI with a
    # pause. A file cut off is also shorter than its own header says.
    promised, missing = metadata.num_frames_from_header, bytes_missing(path)
    if promised and missing and len(decoder) < promised:
        raise ValueError(f"{path} is truncated: {len(decoder)} of {promised} frames; write or copy it again")
    return decoder


def _in_order(path, decoder):
    """Yield the frames of an indexed file in order of display, from the first on, each decoded once.

    An index of torchcodec's own makes it seek back, and then frames at the start of trimmed films and
    of MPEG streams are lost. An index that we give has one key frame, so there is no seeking. Where
    frames come without a time (AVI, MPEG program streams), torchcodec skips those before the time
    that is asked for: ask for one before all times. Live recordings, and Matroska whose own index was
    cut off, are read by torchcodec's.
    """
    n_frames = len(decoder)
    index = [(k, int(k == 0)) for k in range(n_frames + 64)]
    if kind(path) in ("avi", "mpeg"):
        index.insert(0, (BEFORE_ALL, 0))
    entries = ",".join(f'{{"pts":{time},"duration":1,"key_frame":{key}}}' for time, key in index)
    n_index = len(index)
    del index  # 100 MB for two hours of film
    frame = None
    try:
        mapped = torchcodec_part("decoders").VideoDecoder(
            _file_name(path), dimension_order="NCHW", custom_frame_mappings=f'{{"frames":[{entries}]}}'
        )
        frame = mapped.get_frame_at(0)
        decoder, n_frames = mapped, n_index
    except (ValueError, RuntimeError):  # no duration in the header, or no way back to the start
        frame = _frame(path, decoder, 0)
    for k in range(1, n_frames + 1):
        if frame is None:
            return
        yield frame
        frame = _frame(path, decoder, k) if k < n_frames else None


def _frame(path, decoder, k):
    """Frame k, or None after the last one."""
    try:
        return decoder.get_frame_at(k)
    except (RuntimeError, IndexError) as error:
        if "no more frames" in str(error):
            return None
        raise ValueError(
            f"{path} is damaged or truncated at frame {k} ({first_line(error)}): "
            f"copy it again, or keep what can be read: {_remake(path)}"
        ) from error


def _square(frames, aspect):
    """The same pictures with square pixels: the side that is too short becomes longer."""
    if aspect == 1:
        return frames
    height, width = frames.shape[-2:]
    size = (height, round(width * aspect)) if aspect > 1 else (round(height / aspect), width)
    return torch.nn.functional.interpolate(frames, size, mode="bilinear", antialias=True)


def facts_of(path, metadata):
    """`VideoFacts` from the metadata of an indexed file."""
    n_frames, header = metadata.num_frames_from_content, metadata.average_fps_from_header
    begin, end = metadata.begin_stream_seconds_from_content, metadata.end_stream_seconds_from_content
    fps = n_frames / (end - begin) if end > begin else 0.0
    # The last frame's own length is often unknown: then the file seems shorter by one frame.
    if header and (
        not 0.02 < abs(fps / header - 1) < 0.99 or abs((end - begin) * header - n_frames + 1) < 0.01
    ):
        fps = float(header)
    turned = round(metadata.rotation or 0)
    aspect = float(metadata.pixel_aspect_ratio or 1)  # 0 stands for unknown
    return VideoFacts(
        fps=fps,
        n_frames=n_frames,
        seconds=n_frames / fps if fps else 0.0,
        width=metadata.width,
        height=metadata.height,
        pixel_aspect=1 / aspect if turned % 180 else aspect,
        rotation=turned,
        transfer=metadata.color_transfer_characteristic or "unknown",
        interlaced=is_interlaced(path),
    )


def _warn_of_facts(path, facts):
    """Warn of what is not as it seems; returns the shape of a pixel to be made square."""
    if missing := bytes_missing(path):
        _warn(f"{path} may be truncated: {missing:,} bytes are missing at its end; write or copy it again")
    if facts.interlaced:
        _warn(
            f"{path} is stored in fields (interlaced): moving edges are combed; "
            f"mend it: {_remake(path, '-vf yadif ')}"
        )
    if facts.transfer in HDR:
        _warn(
            f"{path} is HDR ({HDR[facts.transfer]}): its brightness is read as it is stored, "
            "without the tone mapping of a player"
        )
    if not 1 / 8 <= facts.pixel_aspect <= 8:
        _warn(f"{path} says its pixels are {facts.pixel_aspect:g} times as wide as high: read as square")
        return 1
    return facts.pixel_aspect


def _warn_of_times(path, times, metadata, interlaced):
    """Warn of frames that did not come, and of intervals that are not even."""
    n_indexed, intervals = metadata.num_frames_from_content, times.diff()
    intervals = intervals[intervals.isfinite()]
    usual = intervals.median().item() if len(intervals) else 0.0
    if len(times) < n_indexed:
        # Two fields in packets of their own make one frame: then none is lost if no time is.
        before = times[0].item() - metadata.begin_stream_seconds_from_content
        after = metadata.end_stream_seconds_from_content - times[-1].item() - usual
        if not (interlaced and max(before, after) < usual / 2):
            _warn(f"{path}: only {len(times)} of {n_indexed} frames can be decoded")
    if len(intervals) and not usual / 1.5 < intervals.min() <= intervals.max() < 1.5 * usual:
        _warn(
            f"{path}: the intervals between frames vary from {intervals.min():.3f} to "
            f"{intervals.max():.3f} s and count as equal; make them so: {_remake(path, '-vf fps=30 ')}"
        )


def _warn(message):
    warnings.warn(message, stacklevel=4)


def _remake(path, filters=""):
    """The command that decodes and encodes a film anew, as a player would see it."""
    return f"ffmpeg -i {path.name} {filters}{path.stem}_new.mp4"


@contextmanager
def sayable(path):
    """Turn what torchcodec says of a file into one sentence."""
    try:
        yield
    except (ValueError, RuntimeError, IndexError, OSError) as error:
        text = str(error)
        if text.startswith((str(path), NO_FFMPEG)):  # said already
            raise
        if "best video stream" in text:
            raise ValueError(f"{path} holds no pictures, only sound or text") from error
        if missing := bytes_missing(path):
            raise ValueError(
                f"{path} is truncated: {missing:,} bytes are missing at its end; write or copy it again"
            ) from error
        if "Could not seek" in text:
            raise ValueError(
                f"torchcodec cannot go back to the start of {path}: put it into an mp4: {_remake(path)}"
            ) from error
        raise ValueError(f"{path} is not a readable video, or truncated: {first_line(error)}") from error


def torchcodec_part(part):
    """`torchcodec.decoders` or `.encoders`, which load FFmpeg. `RuntimeError` if they cannot."""
    try:
        module = import_module(f"torchcodec.{part}")  # without FFmpeg, older releases fail here
    except (ImportError, OSError, RuntimeError) as error:
        raise RuntimeError(NO_FFMPEG) from error
    if getattr(sys.modules["torchcodec"], "ffmpeg_major_version", "unknown") is None:  # and newer ones say so
        raise RuntimeError(NO_FFMPEG)
    return module


def first_line(error):
    """What FFmpeg said, without the place in torchcodec's source."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.sub(r"^.*\.cpp:\d+, ", "", line)
