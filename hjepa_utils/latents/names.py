"""Names of files, encoders and framings, without importing what reads them."""

import os
import re
from pathlib import Path

# owner/name or owner/name@revision, as the hub allows them: ../x is a path, not an id
_NAME = r"\w(?:[\w.-]*\w)?"
HUB_ID = re.compile(rf"(?![^@]*(?:--|\.\.)){_NAME}/{_NAME}(?:@[\w./-]+)?", re.ASCII)
PAPER_ENCODER = "facebook/vjepa2-vitl-fpc16-256-ssv2"
FRAMINGS = ("whole", "processor")


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


def is_utf8(path):
    return printable(path) == str(path)


def printable(path):
    return str(path).encode(errors="backslashreplace").decode()
