"""Whether the last packet or picture of a video file is whole, container by container."""

import re
import struct

from .containers import TS_PACKETS

TAIL = 2**20  # looked through for the last packet, where packets can be found from the end
ASF_FILE, ASF_DATA = (
    bytes.fromhex(text) for text in ("a1dcab8c47a9cf118ee400c00c205365", "3626b2758e66cf11a6d900aa0062ce6c")
)
ASF_INDICES = tuple(bytes.fromhex(text) for text in ("90080033", "d329e2d6", "f803b1fe", "d03fb73c"))
EBML, SEGMENT, CLUSTER = (bytes.fromhex(text) for text in ("1a45dfa3", "18538067", "1f43b675"))
START_CODE = b"\0\0\1"
UNFINISHED, NO_MARK = "its last packet is unfinished", "the mark at its end is missing"


def matroska_segment(data):
    """Where the content of Matroska's segment begins, 0 if it is not found, and its length or None."""
    length, start = _vint(data, len(EBML))
    start += length or 0
    if data[start : start + 4] != SEGMENT:
        return 0, None
    n_bytes, begin = _vint(data, start + 4)
    return begin, n_bytes


def _vint(data, start):
    """A number of EBML, None for unknown, and the place after it: as many leading zeros as bytes follow."""
    if start >= len(data) or data[start] == 0:
        return 0, start
    n_bytes = 9 - data[start].bit_length()
    value = int.from_bytes(data[start : start + n_bytes], "big") - (1 << 7 * n_bytes)
    return None if value == 2 ** (7 * n_bytes) - 1 else value, start + n_bytes


def _walked(next_packet, first):
    """A look at packets that each say how long they are, from the place `first(data)` on.

    `next_packet(data, start)` is where the packet ends that begins there. Both are -1 where there is none.
    """

    def look(data):
        start, size = first(data), len(data)
        while 0 <= start < size:
            try:
                end = next_packet(data, start)
            except (IndexError, struct.error):  # the file ends within the packet's header
                return UNFINISHED
            if end > size:
                return UNFINISHED
            start = end
        return ""

    return look


def _flv_tag(data, start):
    if data[start] & 31 not in (8, 9, 18):
        return -1
    end = start + 11 + int.from_bytes(struct.unpack_from("3s", data, start + 1)[0], "big")
    return end + min(max(len(data) - end, 0), 4)  # the tag's length again, which some leave out at the end


def _live_segment(data):
    begin, n_bytes = matroska_segment(data)
    return begin if n_bytes is None and begin else -1


def _matroska_element(data, start):
    """The end of an element, or of the head of a cluster whose length nobody knew yet."""
    if data[start] < 16:  # no name of up to four bytes
        return -1
    name_end = start + 9 - data[start].bit_length()
    n_bytes, begin = _vint(data, name_end)
    if max(begin, name_end + 1) > len(data):
        return len(data) + 1
    if n_bytes is None:
        return begin if data[start:name_end] == CLUSTER else -1
    return begin + n_bytes if begin > name_end else -1


def _avi_chunk(data, start):
    name, length = struct.unpack_from("<4sI", data, start)
    if name == b"RIFF" or (name == b"LIST" and data[start + 8 : start + 12] == b"movi"):
        return start + 12  # into it: its length was never filled in
    return start + 8 + length + length % 2 if name.strip().isalnum() else -1


def _program_packet(data, start):
    """The end of a pack's header or of a packet in it (ISO/IEC 13818-1, 2.5.3)."""
    if data[start : start + 3] != START_CODE[: len(data) - start]:
        return -1
    code = data[start + 3]
    if code == 0xB9:
        return start + 4
    if code == 0xBA:
        return start + (14 + (data[start + 13] & 7) if data[start + 4] >> 6 == 1 else 12)
    length = struct.unpack_from(">H", data, start + 4)[0]
    return start + 6 + length if code >= 0xBB and length else -1


def _mxf_item(data, start):
    if data[start : start + 4] != b"\x06\x0e\x2b\x34"[: len(data) - start]:
        return -1
    length, begin = data[start + 16], start + 17
    if length & 128:
        begin, length = begin + length % 128, int.from_bytes(data[begin : begin + length % 128], "big")
    return begin + length


def _asf_packet(data, start):
    """The end of a packet, all of one length; behind the last may be an index (ASF, 6)."""
    if data[start : start + 4] in ASF_INDICES:
        return -1
    about = data.find(ASF_FILE)
    return start + struct.unpack_from("<I", data, about + 92)[0] if about > 0 else -1


def _asf_begin(data):
    place = data.find(ASF_DATA)
    return place + 50 if place > 0 else -1


def _of_equal_packets(places):
    """A look at packets of one length: `places(data)` gives where they begin, and the length or 0."""

    def look(data):
        start, length = places(data)
        return UNFINISHED if length and (len(data) - start) % length else ""

    return look


def _transport_packets(data):
    """By the marks of the last hundred or so: an earlier loss moves them."""
    end = len(data)
    for length, mark in TS_PACKETS.items():
        for start in range(max(end - 100 * length, 0), max(end - 100 * length, 0) + length):
            if set(data[start + mark :: length]) == {0x47}:
                return start, length
    return 0, 0


def _y4m_frames(data):
    first = data.find(b"\nFRAME") + 1
    second = data.find(b"FRAME", first + 5)
    return (first, second - first) if 0 < first < second else (0, 0)


def _last_page(data):
    """An Ogg page that is the stream's last and whole (RFC 3533, 6)."""
    page = data.rfind(b"OggS")
    if page < 0:
        return ""
    n_segments = data[page + 26] if page + 26 < len(data) else 255
    lengths = data[page + 27 : page + 27 + n_segments]
    whole = len(lengths) == n_segments and page + 27 + n_segments + sum(lengths) <= len(data)
    return "" if whole and data[page + 5] & 4 else NO_MARK


def _last_jpeg(data):
    place = data.rfind(b"\xff\xd8\xff")
    return "" if data.find(b"\xff\xd9", place) > 0 else "its last picture is unfinished"


def _last_slices(data):
    """Of MPEG-2 every row of blocks has a slice, numbered from 1 (ISO/IEC 13818-2, 6.1.2)."""
    picture, extension = data.rfind(START_CODE + b"\0"), data.find(START_CODE + b"\xb5")
    height = int.from_bytes(data[5:7], "big") & 0xFFF
    if picture < 0 or extension < 0 or data[extension + 4] >> 4 != 1 or height > 2800:
        return ""
    in_frames = data[extension + 5] & 8  # else two fields may be two pictures
    n_rows = -(-height // 16) if in_frames else -(-height // 32)
    rows = re.findall(rb"\x00\x00\x01([\x01-\xaf])", data[picture:])
    return "" if rows and rows[-1][0] >= n_rows else "its last picture is unfinished"


LAST_PACKET = {
    "flv": _walked(_flv_tag, lambda data: int.from_bytes(data[5:9], "big") + 4),
    "matroska": _walked(_matroska_element, _live_segment),
    "avi": _walked(_avi_chunk, lambda data: 12),
    "mpeg": _walked(_program_packet, lambda data: data.find(START_CODE + b"\xba", len(data) - TAIL)),
    "mxf": _walked(_mxf_item, lambda data: _mxf_item(data, 0)),
    "ivf": _walked(
        lambda data, start: start + 12 + struct.unpack_from("<I", data, start)[0], lambda data: 32
    ),
    "ts": _of_equal_packets(_transport_packets),
    "dv": _of_equal_packets(lambda data: (0, 144_000 if data[3] & 128 else 120_000)),
    "asf": _walked(_asf_packet, _asf_begin),
    "y4m": _of_equal_packets(_y4m_frames),
    "ogg": _last_page,
    "jpeg": _last_jpeg,
    "mpeg video": _last_slices,
    "gif": lambda data: "" if b";" in data[-16:] else NO_MARK,
    "png": lambda data: "" if b"IEND" in data[-64:] else NO_MARK,
}
