"""Files that are whole or not there: atomic writes, hashes, and errors that say what to do."""

import hashlib
import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError


class ArtifactError(ValueError):
    """An artifact is missing, stale, truncated or foreign; the message names the notebook to run."""


def write_atomically(path, write):
    """Call `write(temporary_path)`, then move the file to `path`, so it is never half-written."""
    path = Path(path)
    with saying_where(path.parent):
        descriptor, unfinished = tempfile.mkstemp(prefix=".unfinished-", suffix=path.suffix, dir=path.parent)
        os.fchmod(descriptor, 0o644)  # mkstemp's files are for the owner alone
        os.close(descriptor)
        try:
            write(unfinished)
            os.replace(unfinished, path)
        finally:
            Path(unfinished).unlink(missing_ok=True)


def write_json(path, value):
    """Write JSON atomically. NaN and infinity are refused: `ValueError`."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda unfinished: Path(unfinished).write_text(text))


def file_hash(path):
    """SHA-256 of a file, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path):
    """Read JSON. `ArtifactError` if it is damaged."""
    try:
        return json.loads(Path(path).read_text())
    except ValueError as error:  # no JSON, or no text at all
        raise ArtifactError(f"{path} is damaged: delete its folder and run its notebook again") from error


ELSEWHERE = "free some space, or set the environment variable HJEPA_ARTIFACTS to a folder that can be written"


@contextmanager
def saying_where(folder, advice=ELSEWHERE):
    """Turn any failure to write into one sentence that names the folder and what to do."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"cannot write to {folder} ({reason}): {advice}") from error
