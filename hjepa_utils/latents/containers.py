"""What a video file says of itself and torchcodec does not pass on: its length, fields, kind."""

import re
import struct
from pathlib import Path

HEAD_BYTES, INDEX_BYTES = 2**20, 2**26  # read to look for a codec's header; at most, of an MP4's index
ZEROS = 1024  # so many at the end of a file are no picture
BOX_TYPES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp")
ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
EBML, SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")
STARTS = {
    EBML: "matroska",
    b"\0\0\1\xba": "mpeg",
    b"FLV": "flv",
    b"OggS": "ogg",
    b"\x30\x26\xb2\x75": "asf",
    b"GIF8": "gif",
    b"\x89PNG": "png",
    b"\xff\xd8\xff": "jpeg",
    b"BM": "bmp",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
}


def kind(path):
    """The container by its first bytes: "avi", "mpeg", "mp4", "matroska", …, or None."""
    with open(path, "rb") as file:
        head = file.read(16)
    if head[:4] == b"RIFF":
        return {b"AVI ": "avi", b"WEBP": "webp"}.get(head[8:12])
    if head[4:8] in BOX_TYPES:
        return "mp4"
    return next((name for start, name in STARTS.items() if head.startswith(start)), None)


def missing_at_end(path):
    """What a file lacks at its end, in words; "" where nothing is known to be missing.

    Bytes that its header promises; the mark at the end of GIF, PNG and Ogg (RFC 3533); or bytes that
    were never filled in, as an interrupted download leaves them (MP4 may end in zeros).
    """
    size, container, promised = Path(path).stat().st_size, kind(path), _promised_size(path)
    if n_missing := max(promised - size, 0):
        return f"{n_missing:,} byte{' is' if n_missing == 1 else 's are'} missing at its end"
    if container != "mp4" and not any(_bytes_before(path, min(promised or size, size), ZEROS)):
        return "it is filled with zeros at its end"
    tail = _bytes_before(path, size, 2**16)
    page = tail.rfind(b"OggS")
    whole = {
        "gif": b";" in tail[-16:],
        "png": b"IEND" in tail[-64:],
        "ogg": page < 0 or tail[page + 5 : page + 6] >= b"\4",
    }
    return "" if whole.get(container or "", True) else "the mark at its end is missing"


def _promised_size(path):
    """How long a file should be by its own header, 0 where that says nothing.

    MP4 and MOV: the last box (ISO/IEC 14496-12). AVI: the RIFF chunks. Matroska and WebM: the
    segment (RFC 8794), unknown in a live recording. FLV and ASF: the size in their metadata.
    """
    size, container = Path(path).stat().st_size, kind(path)
    with open(path, "rb") as file:
        if container in ("mp4", "avi"):
            boxes = list(_boxes(file, size) if container == "mp4" else _riffs(file, size))
            return boxes[-1][2] if boxes else 0
        head = file.read(2**14)
    ends = {"matroska": _segment_end, "flv": _flv_size, "asf": _asf_size}
    return ends[container](head) if container in ends else 0


def _bytes_before(path, end, n_bytes):
    with open(path, "rb") as file:
        file.seek(max(end - n_bytes, 0))
        return file.read(min(n_bytes, end))


def is_interlaced(path):
    """Whether H.264, MPEG-2 or QuickTime says that frames are stored as two fields, taken in turn.

    From `frame_mbs_only_flag` (H.264, 7.3.2.1.1), `progressive_sequence` (MPEG-2, 6.2.2.3) or the
    atom `fiel`. False where nothing says so: DV, VC-1 and others are not looked into.
    """
    head = _codec_header(path)
    stored = re.search(rb"\x01(.{3})[\xfc-\xff]\xe1..\x67(?=\1)", head, re.DOTALL)  # MP4, Matroska, FLV
    streamed = re.search(rb"\x00\x00\x01[\x27\x47\x67](?=[\x42\x4d\x58\x64\x6e\x7a\xf4])", head)
    for found in (stored, streamed):
        if found:
            return _h264_fields(head[found.end() : found.end() + 512])
    if mpeg2 := re.search(rb"\x00\x00\x01\xb5[\x10-\x1f](.)", head, re.DOTALL):
        return not mpeg2[1][0] & 8
    fields = re.search(rb"\x00\x00\x00\x0afiel(.)", head, re.DOTALL)
    return bool(fields) and fields[1][0] == 2


def _codec_header(path):
    size = Path(path).stat().st_size
    with open(path, "rb") as file:
        if kind(path) == "mp4":
            for name, start, end in _boxes(file, size):
                if name == b"moov":
                    file.seek(start)
                    return file.read(min(end - start, INDEX_BYTES))
        file.seek(0)
        return file.read(HEAD_BYTES)


def _boxes(file, size):
    """Yield (type, start, end) of an MP4's outermost boxes; the last may end beyond the file."""
    start = 0
    while start + 8 <= size:
        file.seek(start)
        header = file.read(16)
        length, name = struct.unpack(">I4s", header[:8])
        if length == 1 and len(header) == 16:
            (length,) = struct.unpack(">Q", header[8:])
        if length < 8 or not name.isalnum():  # to the end of the file, or no box any more
            return
        yield name, start, start + length
        start += length


def _riffs(file, size):
    """The same of an AVI, one RIFF chunk a gigabyte or two."""
    start = 0
    while start + 8 <= size:
        file.seek(start)
        name, length = struct.unpack("<4sI", file.read(8))
        if name != b"RIFF" or length in (0, 2**32 - 1):  # never closed: it promises nothing
            return
        yield name, start, start + 8 + length
        start += 8 + length + length % 2


def _segment_end(head):
    length, start = _vint(head, len(EBML))
    start += length
    if head[start : start + 4] != SEGMENT:
        return 0
    n_bytes, begin = _vint(head, start + 4)
    unknown = 2 ** (7 * (begin - start - 4)) - 1
    return 0 if n_bytes == unknown else begin + n_bytes


def _vint(data, start):
    """A number of EBML and the place after it: as many leading zeros as bytes follow."""
    if start >= len(data) or data[start] == 0:
        return 0, start
    n_bytes = 9 - data[start].bit_length()
    value = int.from_bytes(data[start : start + n_bytes], "big")
    return value - (1 << 7 * n_bytes), start + n_bytes


def _flv_size(head):
    found = re.search(rb"\x00\x08filesize\x00(.{8})", head, re.DOTALL)
    size = struct.unpack(">d", found[1])[0] if found else 0
    return int(size) if 0 < size < 2**53 else 0


def _asf_size(head):
    place = head.find(ASF_FILE)
    return int.from_bytes(head[place + 40 : place + 48], "little") if place > 0 else 0


def _h264_fields(sps):
    """Whether a sequence parameter set of H.264, from its profile on, allows fields."""
    sps = sps.replace(b"\0\0\3", b"\0\0")
    bits = iter(f"{int.from_bytes(sps, 'big'):0{8 * len(sps)}b}")

    def number(n_bits):
        # A list: a generator would turn the end of the bits into a RuntimeError.
        return int("0" + "".join([next(bits) for _ in range(n_bits)]), 2)

    def golomb():
        zeros = 0
        while next(bits) == "0":
            zeros += 1
        return 2**zeros - 1 + number(zeros)

    try:
        profile = number(8)
        number(16)
        golomb()
        if profile in (100, 110, 122, 244, 44, 83, 86, 118, 128):
            if golomb() == 3:  # 4:4:4
                number(1)
            golomb()
            golomb()
            number(1)
            if number(1):  # scaling matrices: rare, and long to skip
                return False
        golomb()
        order = golomb()
        if order == 0:
            golomb()
        elif order == 1:
            number(1)
            golomb()
            golomb()
            for _ in range(golomb()):
                golomb()
        golomb()
        number(1)
        golomb()
        golomb()
        return number(1) == 0
    except StopIteration:
        return False
