"""Decode a video from its first frame to its last; the only importer of torchcodec."""

import re
import sys
from contextlib import contextmanager
from importlib import import_module
from itertools import islice

import torch

from .containers import kind, missing_at_end
from .facts import facts_of, remake, warn_of_facts, warn_of_times
from .names import local_path

MORE = 64  # frames tried after the last one that the index has
PIECE_BYTES = 2**23  # decoded at once: 42 frames at 256 × 256, 1 in HD
BEFORE_ALL = -(2**63)  # FFmpeg's time of a frame that has none
NO_FFMPEG = (
    "torchcodec finds no FFmpeg libraries: install the package ffmpeg "
    "(Debian, Ubuntu: apt-get install ffmpeg; conda: conda install ffmpeg) and start again"
)


def _file_name(path):
    """From the root on: FFmpeg takes what stands before a colon at the start of a name for a protocol."""
    return str(path.absolute())


def pieces(path, n_frames=None):
    """Yield (frames, their times) in order, and warn of what a reader should know."""
    path = local_path(path)
    with sayable(path):
        decoder = indexed(path)
    metadata, times = decoder.metadata, []
    facts = facts_of(path, metadata)
    aspect = warn_of_facts(path, facts)
    n_frames = n_frames or max(PIECE_BYTES // (3 * facts.height * facts.width), 1)
    # Where two fields count as two frames of the index, a range would go on beyond the last frame.
    for frames, seconds in _in_order(path, decoder, n_frames, by_ranges=not facts.interlaced):
        seconds = seconds.where(seconds.abs() < 1e9, torch.nan)
        times += seconds.tolist()  # small tensors kept between large pieces would tear the memory to shreds
        yield _square(frames, aspect), seconds
    if not times:
        raise ValueError(f"{path} holds no frame that can be decoded: copy or export it again")
    warn_of_times(path, torch.tensor(times, dtype=torch.float64), metadata, facts.interlaced)


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
    promised = metadata.num_frames_from_header
    if promised and len(decoder) < promised and missing_at_end(path):
        raise ValueError(f"{path} is truncated: {len(decoder)} of {promised} frames; write or copy it again")
    return decoder


def _in_order(path, decoder, n_frames, by_ranges):
    """Yield (frames, their times) of an indexed file in order of display, `n_frames` at a time.

    Each frame is decoded once, unless a range of them cannot be read (the picture changes its size,
    fewer come than the index has, damage): then all are decoded anew, one by one.
    """
    n_indexed, n_read, shape = len(decoder), 0, None
    try:
        mapped = _from_start(path, n_indexed) if by_ranges else None
        while mapped and n_read < n_indexed:
            # Not `get_frames_in_range`: it stops at the number that the header's duration gives.
            batch = mapped.get_frames_at(list(range(n_read, min(n_read + n_frames, n_indexed))))
            shape = batch.data.shape[1:]
            n_read += len(batch.data)
            yield batch.data, batch.pts_seconds
    except (ValueError, RuntimeError, IndexError):
        mapped = None
    if mapped:
        rest = _singly(path, mapped, n_indexed, n_indexed + MORE)
    else:
        rest = islice(_anew(path, decoder), n_read, None)
    yield from _gathered(path, rest, n_frames, n_read, n_indexed, shape)


def _from_start(path, n_frames):
    """A decoder that never seeks.

    An index of torchcodec's own makes it seek back, and then frames at the start of trimmed films and
    of MPEG streams are lost. An index that we give has one key frame, so there is no seeking. Where
    frames come without a time (AVI, MPEG program streams), torchcodec skips those before the time
    that is asked for: ask for one before all times. The index is a little longer than the file's.
    """
    index = [(k, int(k == 0)) for k in range(n_frames + MORE)]
    if kind(path) in ("avi", "mpeg"):
        index.insert(0, (BEFORE_ALL, 0))
    entries = ",".join(f'{{"pts":{time},"duration":1,"key_frame":{key}}}' for time, key in index)
    del index  # 100 MB for two hours of film
    return torchcodec_part("decoders").VideoDecoder(
        _file_name(path), dimension_order="NCHW", custom_frame_mappings=f'{{"frames":[{entries}]}}'
    )


def _anew(path, decoder):
    """Yield every frame by itself, from the first on.

    Live recordings, and Matroska whose own index was cut off, are read by torchcodec's index.
    """
    try:
        mapped = _from_start(path, len(decoder))
        yield mapped.get_frame_at(0)
    except (ValueError, RuntimeError):  # no duration in the header, or no way back to the start
        yield from _singly(path, decoder, 0, len(decoder))
    else:
        yield from _singly(path, mapped, 1, len(decoder) + MORE)


def _singly(path, decoder, start, stop):
    """Yield the frames from `start` to before `stop`, as many as come."""
    for k in range(start, stop):
        try:
            frame = decoder.get_frame_at(k)
        except (RuntimeError, IndexError) as error:
            if "no more frames" in str(error):
                return
            raise ValueError(
                f"{path} is damaged or truncated at frame {k} ({first_line(error)}): "
                f"copy it again, or keep what can be read: {remake(path)}"
            ) from error
        yield frame


def _gathered(path, frames, n_frames, n_read, n_indexed, shape):
    """Yield (frames, their times) of single ones after the first `n_read`, which are of that shape."""
    held, times = torch.empty(0), []
    for frame in frames:
        shape = shape or frame.data.shape
        if frame.data.shape != shape:
            sizes = " then ".join(f"{width}×{height}" for _, height, width in (shape, frame.data.shape))
            raise ValueError(f"{path} changes size at frame {n_read}: {sizes}; give it one: {remake(path)}")
        if not times:
            room = min(n_frames, max(n_indexed - n_read, 64))
            held = frame.data.new_empty(room, *shape[1:], shape[0]).permute(0, 3, 1, 2)
        held[len(times)] = frame.data
        times.append(frame.pts_seconds)
        n_read += 1
        if len(times) == len(held):
            yield held, torch.tensor(times, dtype=torch.float64)
            times = []
    if times:
        yield held[: len(times)], torch.tensor(times, dtype=torch.float64)


def _square(frames, aspect):
    """The same pictures with square pixels: the side that is too short becomes longer."""
    if aspect == 1:
        return frames
    height, width = frames.shape[-2:]
    size = (height, round(width * aspect)) if aspect > 1 else (round(height / aspect), width)
    return torch.nn.functional.interpolate(frames, size, mode="bilinear", antialias=True)


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
        if missing := missing_at_end(path):
            raise ValueError(f"{path} is truncated: {missing}; write or copy it again") from error
        if "Could not seek" in text:
            raise ValueError(
                f"torchcodec cannot go back to the start of {path}: put it into an mp4: {remake(path)}"
            ) from error
        if "Failed to read frame" in text:
            raise ValueError(
                f"{path} is damaged ({first_line(error)}): "
                f"copy it again, or keep what can be read: {remake(path)}"
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
