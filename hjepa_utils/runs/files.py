"""Files that are whole or not there: atomic writes, hashes, and errors that say what to do."""

import errno
import hashlib
import json
import os
import re
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

ELSEWHERE = "set the environment variable HJEPA_ARTIFACTS to a folder that can be written"
AGAIN = "delete that file and run again what made it"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_IN_THE_WAY = (errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY)


class ArtifactError(ValueError):
    """An artifact is missing, stale, truncated or foreign; the message names the notebook to run."""


def write_atomically(path, write, elsewhere=ELSEWHERE):
    """Call `write(temporary_path)`, then move the file to `path`, so it is never half-written.

    `~` is the home folder. Whatever fails, nothing unfinished stays behind; a failure to write is
    an `OSError` of one sentence.
    """
    path = Path(path).expanduser()
    with explain_write_error(path.parent, elsewhere):
        descriptor, unfinished = tempfile.mkstemp(prefix=".unfinished-", suffix=path.suffix, dir=path.parent)
        try:
            os.close(descriptor)
            write(unfinished)
            with suppress(OSError):  # some mounted disks know no modes
                os.chmod(unfinished, 0o644)  # mkstemp's files, and safetensors', are for the owner alone
            os.replace(unfinished, path)
        finally:
            Path(unfinished).unlink(missing_ok=True)


def write_json(path, value):
    """Write JSON atomically, a summary as its `to_dict()`; see `json_text` for what is refused."""
    text = json_text(value, indent=2) + "\n"
    write_atomically(path, lambda unfinished: Path(unfinished).write_text(text, encoding="utf-8"))


def json_text(value, **options):
    """JSON of numbers (NumPy's and torch's too), texts, lists, dicts and summaries.

    Raises `ValueError` for NaN and infinity, `TypeError` for anything else.
    """
    try:
        return json.dumps(value, allow_nan=False, default=_plain, **options)
    except ValueError as error:
        raise ValueError(f"{error}: nothing was saved, leave such values out or save None") from error


def _plain(value):
    for method in ("to_dict", "tolist"):
        if hasattr(value, method):
            return getattr(value, method)()
    raise TypeError(
        f"{value!r} ({type(value).__name__}) cannot be saved as JSON: "
        "make it a number, a text, a list or a dict"
    )


def read_json(path, *, keys=(), advice=AGAIN):
    """Read a JSON object with these keys, as a dict. `ArtifactError` with the advice if it is none."""
    value = None
    with suppress(ValueError, RecursionError, IsADirectoryError):  # no JSON, no text, or nested without end
        value = json.loads(Path(path).expanduser().read_text(encoding="utf-8-sig"))  # with a BOM too
    if not isinstance(value, dict) or not value.keys() >= set(keys):
        raise ArtifactError(f"{path} is damaged: {advice}")
    return value


def file_hash(path):
    """SHA-256 of a file, as hexadecimal digits."""
    with open(Path(path).expanduser(), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def explain_write_error(folder, elsewhere=ELSEWHERE):
    """Turn any failure to write into one sentence: the folder, the reason, and what helps against it."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"cannot write to {folder} ({reason}): {_remedy(error)}{elsewhere}") from error


def _remedy(error):
    """What helps apart from another folder. safetensors tells the number of the error in words only."""
    in_words = re.search(r"os error (\d+)", str(error))
    number = getattr(error, "errno", None) or (in_words and int(in_words[1]))
    if number in _FULL:
        return "free some space, or "
    return "move away what has its name, or " if number in _IN_THE_WAY else ""
