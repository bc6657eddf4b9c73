"""Puts the project on the path, stands in for a full disk, gives nbval a tolerance for floats."""

import re
import resource
import sys
from contextlib import contextmanager
from math import isclose
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

FLOAT = re.compile(r"([-+]?\d+\.\d*(?:e[-+]?\d+)?|[-+]?\d+e[-+]?\d+)", re.IGNORECASE)


class TolerantText(str):
    """Equal to a text with the same words and integers, and floats within the tolerance.

    Runs of spaces and dashes count as one, because the columns of a table move with its numbers.
    Numbers are rounded: a last digit that rounds the other way needs the absolute part of the
    tolerance; the relative one covers what processors differ by.
    """

    rel_tol, abs_tol = 2e-2, 2e-3
    __hash__ = str.__hash__

    def __eq__(self, other):
        if not isinstance(other, str):
            return NotImplemented
        mine, others = self._parts(self), self._parts(other)
        return len(mine) == len(others) and all(map(self._same, mine, others))

    def __ne__(self, other):
        return not self == other

    @staticmethod
    def _parts(text):
        return FLOAT.split(re.sub(r"([ \t]|[-─═])\1*", r"\1", text).strip())

    def _same(self, mine, other):
        if FLOAT.fullmatch(mine) and FLOAT.fullmatch(other):
            return isclose(float(mine), float(other), rel_tol=self.rel_tol, abs_tol=self.abs_tol)
        return mine.strip(" ") == other.strip(" ")


class ChaoticText(TolerantText):
    """For cells tagged "chaotic": numbers of ReLU networks trained for more than a few updates.

    Rounding grows in their training as if it were another seed. Latents changed by 1e-7, or a
    processor without AVX-512, moved the MLP's error by 1 % and its spread over windows by 10 %.
    """

    rel_tol, abs_tol = 0.15, 0.02


@contextmanager
def no_file_above(n_bytes):
    """Stands for a full disk: the system refuses to let any file grow beyond this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def pytest_configure(config):
    if not config.getoption("nbval", default=False):
        return
    from nbval.plugin import IPyNbCell

    sanitize = IPyNbCell.sanitize  # private; requirements.txt pins nbval for it

    def tolerant(cell, output):
        text = sanitize(cell, output)
        kind = ChaoticText if "chaotic" in cell.cell.metadata.get("tags", ()) else TolerantText
        return kind(text) if isinstance(text, str) else text

    IPyNbCell.sanitize = tolerant


def pytest_collection_modifyitems(items):
    for item in items:
        if hasattr(item, "output_timeout"):  # nbval's; its 5 s are short for a busy machine
            item.output_timeout = 600
