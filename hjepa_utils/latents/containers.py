"""What a video file says of itself and torchcodec does not pass on: its kind, whether it has fields."""

import re
import struct
from pathlib import Path

HEAD_BYTES, INDEX_BYTES = 2**20, 2**26  # read to look for a codec's header; at most, of an MP4's index
BOX_TYPES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp")
TS_PACKETS = {188: 0, 192: 4, 204: 0}  # their lengths, and where in each its mark 0x47 stands
STARTS = {
    b"\x1a\x45\xdf\xa3": "matroska",
    b"\0\0\1\xba": "mpeg",
    b"\0\0\1\xb3": "mpeg video",
    b"FLV": "flv",
    b"OggS": "ogg",
    b"\x30\x26\xb2\x75": "asf",
    b"\x06\x0e\x2b\x34": "mxf",
    b"DKIF": "ivf",
    b"YUV4MPEG2": "y4m",
    b"\xb7\xd8\x00\x20": "wtv",
    b"\x1f\x07\x00": "dv",
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
        head = file.read(1024)
    if head[:4] == b"RIFF":
        return {b"AVI ": "avi", b"WEBP": "webp"}.get(head[8:12])
    if head[4:8] in BOX_TYPES:
        return "mp4"
    if any(set(head[mark::length]) == {0x47} for length, mark in TS_PACKETS.items()):
        return "ts"
    return next((name for start, name in STARTS.items() if head.startswith(start)), None)


def avi_rate(path):
    """Places for frames per second in an AVI, by the header of its video stream; 0 if there is none."""
    with open(path, "rb") as file:
        found = re.search(rb"strh.{4}vids.{16}(.{8})", file.read(2**14), re.DOTALL)
    scale, rate = struct.unpack("<II", found[1]) if found else (0, 0)
    return rate / scale if scale else 0


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
            for name, start, end in boxes(file, size):
                if name == b"moov":
                    file.seek(start)
                    return file.read(min(end - start, INDEX_BYTES))
        file.seek(0)
        return file.read(HEAD_BYTES)


def boxes(file, size):
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
