"""Whether a video file goes on to its end: what its header promises, and whether its last packet is whole."""

import re
import struct
from mmap import ACCESS_READ, mmap
from pathlib import Path

from .containers import boxes, kind
from .packets import ASF_FILE, LAST_PACKET, matroska_segment

ZEROS = 1024  # so many at the end of a file are no picture


def missing_at_end(path):
    """What a file lacks at its end, in words; "" where nothing is known to be missing.

    Bytes that its header promises; bytes that were never filled in, as an interrupted download leaves
    them (MP4 and WTV may end in zeros); the mark at the end of GIF, PNG and Ogg (RFC 3533); or, where
    no header promises anything, a part of the last packet or picture.
    """
    size, container = Path(path).stat().st_size, kind(path)
    promised = _promised_size(path, container, size)
    if n_missing := max(promised - size, 0):
        return f"{n_missing:,} byte{' is' if n_missing == 1 else 's are'} missing at its end"
    with open(path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        if container not in ("mp4", "wtv"):
            end = min(promised or size, size)
            if not any(data[max(end - ZEROS, 0) : end]):
                return "it is filled with zeros at its end"
        look = LAST_PACKET.get(container or "")
        return look(data) if look and not promised else ""


def _promised_size(path, container, size):
    """How long a file should be by its own header, 0 where that says nothing.

    MP4 and MOV: the last box (ISO/IEC 14496-12). AVI: the RIFF chunks. Matroska and WebM: the
    segment (RFC 8794), unknown in a live recording. FLV and ASF: the size in their metadata.
    """
    with open(path, "rb") as file:
        if container in ("mp4", "avi"):
            parts = list(boxes(file, size) if container == "mp4" else _riffs(file, size))
            return parts[-1][2] if parts else 0
        head = file.read(2**14)
    ends = {"matroska": _segment_end, "flv": _flv_size, "asf": _asf_size}
    return ends[container](head) if container in ends else 0


def _riffs(file, size):
    """Yield (type, start, end) of an AVI's RIFF chunks, one a gigabyte or two."""
    start = 0
    while start + 8 <= size:
        file.seek(start)
        name, length = struct.unpack("<4sI", file.read(8))
        if name != b"RIFF" or length in (0, 2**32 - 1):  # never closed: it promises nothing
            return
        yield name, start, start + 8 + length
        start += 8 + length + length % 2


def _segment_end(head):
    begin, n_bytes = matroska_segment(head)
    return begin + n_bytes if n_bytes is not None else 0


def _flv_size(head):
    found = re.search(rb"\x00\x08filesize\x00(.{8})", head, re.DOTALL)
    size = struct.unpack(">d", found[1])[0] if found else 0
    return int(size) if 0 < size < 2**53 else 0


def _asf_size(head):
    place = head.find(ASF_FILE)
    return int.from_bytes(head[place + 40 : place + 48], "little") if place > 0 else 0
