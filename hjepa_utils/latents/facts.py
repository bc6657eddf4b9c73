"""What a video file says of itself, and warnings of what is not as it seems."""

import warnings
from typing import NamedTuple

import torch

from .containers import avi_rate, is_interlaced, kind
from .endings import missing_at_end

REORDERED = 16  # so many frames may wait for one that is shown before them (H.264, A.3.1)
UNTIMED = 1e9  # seconds: further off are only times that FFmpeg gives to what has none
IN_MILLISECONDS = ("matroska", "flv", "asf")  # their clocks
HDR = {"smpte2084": "PQ", "arib-std-b67": "HLG"}


class VideoFacts(NamedTuple):
    """What a file and its index say of a video, nothing decoded."""

    fps: float  # frames per second, on average; 0 where the file does not say
    n_frames: int  # in the index; a stream stored in single fields counts both
    seconds: float
    width: int  # as stored, after the rotation
    height: int
    pixel_aspect: float  # width of a pixel over its height, after the rotation
    rotation: int  # degrees counter-clockwise, already applied to what is read
    transfer: str  # of light to numbers: "bt709", "smpte2084" (PQ), "arib-std-b67" (HLG), "unknown"
    interlaced: bool  # stored in fields, see `is_interlaced`


def facts_of(path, metadata):
    """`VideoFacts` from the metadata of an indexed file."""
    n_frames, header = metadata.num_frames_from_content, metadata.average_fps_from_header
    begin, end = metadata.begin_stream_seconds_from_content, metadata.end_stream_seconds_from_content
    is_timed = 0 < end - begin < UNTIMED
    fps = n_frames / (end - begin) if is_timed else 0.0
    # Two fields may count as two frames. The last frame's own length is often unknown: then the file
    # seems shorter by one frame. A header's rate far above is a clock's, such as Matroska's 1000.
    if header and (
        not is_timed
        or abs(fps / header - 1) <= 0.02
        or fps / header >= 1.99
        or abs((end - begin) * header - n_frames + 1) < 0.01
    ):
        fps = float(header)
    elif kind(path) == "asf" and is_timed:  # which says of no frame how long it is
        fps = (n_frames - 1) / (end - begin)
    if kind(path) == "jpeg":  # pictures one after the other, for which FFmpeg takes 25
        fps = 0.0
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


def promised_frames(path, metadata):
    """How many frames the header says there are, 0 where it says nothing.

    An AVI counts places for frames, at a rate of its own, and some may be empty; one that was
    streamed has a number beyond what the file could hold.
    """
    n_frames, fps = metadata.num_frames_from_header or 0, metadata.average_fps_from_header or 0
    if kind(path) != "avi":
        return n_frames
    if 8 * n_frames > path.stat().st_size:
        return 0
    return round(n_frames / rate * fps) if (rate := avi_rate(path)) else n_frames


def warn_of_facts(path, facts):
    """Warn of what is not as it seems; returns the shape of a pixel to be made square."""
    if missing := missing_at_end(path):
        _warn(f"{path} may be truncated: {missing}; write or copy it again")
    if facts.interlaced:
        _warn(
            f"{path} is stored in fields (interlaced): moving edges are combed; "
            f"mend it: {remake(path, '-vf yadif ')}"
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


def warn_of_times(path, times, metadata, interlaced):
    """Warn of frames that did not come, and of intervals that are not even."""
    n_indexed = metadata.num_frames_from_content
    if kind(path) == "mpeg":  # a packet holds several frames, and has one time
        again = torch.cat([torch.tensor([False]), times.diff().abs() < 0.001])
        times = times.masked_fill(again, torch.nan)
    intervals = times.diff()
    intervals = intervals[intervals.isfinite()]
    if cut := missing_at_end(path):
        intervals = intervals[:-REORDERED]  # between some that are there others are lost
    usual = intervals.median().item() if len(intervals) else 0.0
    if len(times) < n_indexed - bool(cut):  # a file that is cut ends with a packet that is no frame
        # Two fields in packets of their own make one frame: then none is lost if no time is.
        before = times[0].item() - metadata.begin_stream_seconds_from_content
        after = metadata.end_stream_seconds_from_content - times[-1].item() - usual
        if not (interlaced and max(before, after) < usual / 2):
            _warn(f"{path}: only {len(times)} of {n_indexed} frames can be decoded")
    elif kind(path) == "avi":
        # A pause counts as frames too, and takes time; frames that were lost take none.
        promised, fps = promised_frames(path, metadata), metadata.average_fps_from_header or 0
        if metadata.end_stream_seconds_from_content * fps < promised - 1:
            _warn(f"{path}: only {len(times)} of {promised} frames can be decoded")
    uneven = len(intervals) and not usual / 1.5 < intervals.min() <= intervals.max() < 1.5 * usual
    if uneven and not (kind(path) in IN_MILLISECONDS and _is_rounded(times[times.isfinite()])):
        _warn(
            f"{path}: the intervals between frames vary from {intervals.min():.3f} to "
            f"{intervals.max():.3f} s and count as equal; make them so: {remake(path, '-vf fps=30 ')}"
        )


def _is_rounded(times):
    """Whether times are even but for a rounding to milliseconds, as of 600 frames per second."""
    even = torch.linspace(times[0].item(), times[-1].item(), len(times), dtype=times.dtype)
    return (times - even).abs().max() <= 0.001


def _warn(message):
    warnings.warn(message, stacklevel=4)


def remake(path, filters=""):
    """The command that decodes and encodes a film anew, as a player would see it."""
    return f"ffmpeg -i {path.name} {filters}{path.stem}_new.mp4"
