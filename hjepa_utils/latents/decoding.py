"""Decode a video from its first frame to its last; the only importer of torchcodec."""

import re
import sys
from contextlib import contextmanager, suppress
from importlib import import_module
from itertools import islice

import torch

from .containers import kind
from .endings import missing_at_end
from .facts import UNTIMED, facts_of, promised_frames, remake, warn_of_facts, warn_of_times
from .names import local_path

PIECE_BYTES = 2**23  # decoded at once: 42 frames at 256 × 256, 1 in HD
NO_FFMPEG = (
    "torchcodec finds no FFmpeg libraries: install the package ffmpeg "
    "(Debian, Ubuntu: apt-get install ffmpeg; conda: conda install ffmpeg) and start again"
)


def _opened(path, **options):
    # From the root on: FFmpeg takes what stands before a colon at the start of a name for a protocol.
    return torchcodec_part("decoders").VideoDecoder(str(path.absolute()), dimension_order="NCHW", **options)


def pieces(path, n_frames=None):
    """Yield (frames, their times) in order, and warn of what a reader should know."""
    path = local_path(path)
    with sayable(path):
        decoder = indexed(path)
    metadata, times = decoder.metadata, []
    facts = facts_of(path, metadata)
    aspect = warn_of_facts(path, facts)
    n_frames = n_frames or max(PIECE_BYTES // (3 * facts.height * facts.width), 1)
    for frames, seconds in _in_order(path, decoder, n_frames, _ranges_hold(path, facts, metadata)):
        timed = (seconds.abs() < UNTIMED) & (kind(path) != "mpeg video")  # which FFmpeg counts by itself
        seconds = seconds.where(timed, torch.nan)
        times += seconds.tolist()  # small tensors kept between large pieces would tear the memory to shreds
        yield _square(frames, aspect), seconds
    if not times:
        raise ValueError(f"{path} holds no frame that can be decoded: copy or export it again")
    warn_of_times(path, torch.tensor(times, dtype=torch.float64), metadata, facts.interlaced)


def indexed(path):
    """A decoder that has gone through the whole file and counted its frames, or one sentence."""
    decoder = _opened(path, seek_mode="exact")
    metadata = decoder.metadata
    if metadata.num_frames_from_content <= 1 and kind(path) in ("png", "jpeg", "webp", "bmp", "tiff"):
        raise ValueError(f"{path} is a picture, not a video")
    # Fewer than the header counts are as many as a player shows of a trimmed film or of an AVI with a
    # pause. A file cut off is also shorter than its own header says.
    promised = promised_frames(path, metadata)
    if promised and len(decoder) < promised and missing_at_end(path):
        raise ValueError(f"{path} is truncated: {len(decoder)} of {promised} frames; write or copy it again")
    return decoder


def _in_order(path, decoder, n_frames, by_ranges):
    """Yield (frames, their times) of an indexed file in order of display, `n_frames` at a time.

    Each frame is decoded once, unless a range of them cannot be read (the picture changes its size,
    fewer come than the index has, damage): then all are decoded anew, one by one.
    """
    n_indexed, n_read, shape = len(decoder), 0, None
    mapped = None
    try:
        mapped = _mapped(path, n_indexed) if by_ranges else None
        while mapped and n_read < n_indexed:
            # Not `get_frames_in_range`: it stops at the number that the header's duration gives.
            batch = mapped.get_frames_at(list(range(n_read, min(n_read + n_frames, n_indexed))))
            shape = batch.data.shape[1:]
            n_read += len(batch.data)
            yield batch.data, batch.pts_seconds
    except (ValueError, RuntimeError, IndexError):
        mapped = None
    rest = _following(path, mapped, n_indexed) if mapped else islice(_anew(path, decoder), n_read, None)
    yield from _gathered(path, rest, n_frames, n_read, n_indexed, shape)


def _ranges_hold(path, facts, metadata):
    """Whether torchcodec gives a film by ranges of its frames, which is faster than one by one.

    In an AVI and in MPEG's own streams frames come without a time, and it leaves those out; so it
    does with times before 0, as where a clock of 33 bits begins anew. Two fields can be two frames of
    the index: then a range would go on beyond the last frame.
    """
    begins = metadata.begin_stream_seconds_from_content or 0
    return begins >= 0 and not facts.interlaced and kind(path) not in ("avi", "mpeg", "mpeg video")


def _mapped(path, n_frames):
    """A decoder that gives ranges without seeking.

    An index of torchcodec's own makes it seek back, and then frames at the start of trimmed films and
    of MPEG streams are lost. An index that we give has one key frame, so there is no seeking.
    """
    entries = ",".join(f'{{"pts":{k},"duration":1,"key_frame":{int(k == 0)}}}' for k in range(n_frames))
    return _opened(path, custom_frame_mappings=f'{{"frames":[{entries}]}}')


def _anew(path, decoder):
    """Yield every frame by itself, from the first on. `decoder` is one that gave none yet."""
    with suppress(ValueError, RuntimeError):  # no duration in the header, as in live recordings
        decoder = _opened(path, seek_mode="approximate")  # it has not gone through the file
    yield from _following(path, decoder)


def _following(path, decoder, n_given=0):
    """Yield the frames (pictures, time) that a decoder has not given yet, as many as come.

    Where a file is known to be cut, and so was warned of, its last packet may not be decodable.
    """
    k, is_cut = n_given, False
    while True:
        try:
            frame, seconds = _next_frame(decoder, k)
        except (RuntimeError, IndexError) as error:
            if "no more frames" in str(error):
                return
            if not is_cut and (is_cut := bool(missing_at_end(path))):
                continue
            raise ValueError(
                f"{path} is damaged or truncated at frame {k} ({first_line(error)}): "
                f"copy it again, or keep what can be read: {remake(path)}"
            ) from error
        yield frame, seconds
        k += 1


def _next_frame(decoder, k):
    """The frame (picture, time) that a decoder would give next, its number `k`.

    By torchcodec's inner `get_next_frame`, if it has it: the public ways leave out frames without a time.
    """
    core = torchcodec_part("_core")
    if hasattr(core, "get_next_frame"):
        picture, seconds, _ = core.get_next_frame(decoder._decoder)
        return picture, seconds.item()
    if k >= len(decoder):
        raise IndexError("no more frames")
    frame = decoder.get_frame_at(k)
    return frame.data, frame.pts_seconds


def _gathered(path, frames, n_frames, n_read, n_indexed, shape):
    """Yield (frames, their times) of single ones after the first `n_read`, which are of that shape."""
    held, times = torch.empty(0), []
    for frame, seconds in frames:
        shape = shape or frame.shape
        if frame.shape != shape:
            sizes = " then ".join(f"{width}×{height}" for _, height, width in (shape, frame.shape))
            raise ValueError(f"{path} changes size at frame {n_read}: {sizes}; give it one: {remake(path)}")
        if not times:
            room = min(n_frames, max(n_indexed - n_read, 64))
            held = frame.new_empty(room, *shape[1:], shape[0]).permute(0, 3, 1, 2)
        held[len(times)] = frame
        times.append(seconds)
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
