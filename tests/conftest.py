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

# Notebooks print rounded numbers. A last digit that rounds the other way needs the absolute part; the
# relative one covers what processors differ by. Rounding grows in the training of the MLPs, and less
# in that of what they are compared with: without AVX-512, or with latents changed by 1e-7, the MLP's
# error moved by 1 % and its spread over windows by 10 %.
USUAL = {"rel_tol": 2e-2, "abs_tol": 2e-3}
CHAOTIC, WIDER = re.compile("MLP|GRU|ODE"), USUAL | {"rel_tol": 0.15}


class TolerantText(str):
    """Equal to a text with the same words and integers, and floats within the tolerance of their row.

    Runs of spaces and dashes count as one, because the columns of a table move with its numbers.
    """

    __hash__ = str.__hash__

    def __eq__(self, other):
        if not isinstance(other, str):
            return NotImplemented
        mine, others = self._rows(self), self._rows(other)
        return len(mine) == len(others) and all(map(self._same_row, mine, others))

    def __ne__(self, other):
        return not self == other

    @staticmethod
    def _rows(text):
        return text.strip().split("<tr" if "<tr" in text else "\n")

    def _same_row(self, mine, other):
        tolerance = WIDER if CHAOTIC.search(mine) else USUAL
        mine, others = self._parts(mine), self._parts(other)
        return len(mine) == len(others) and all(
            self._same(*pair, tolerance) for pair in zip(mine, others, strict=True)
        )

    @staticmethod
    def _parts(row):
        return FLOAT.split(re.sub(r"([ \t]|[-─═])\1*", r"\1", row).strip())

    @staticmethod
    def _same(mine, other, tolerance):
        if FLOAT.fullmatch(mine) and FLOAT.fullmatch(other):
            return isclose(float(mine), float(other), **tolerance)
        return mine.strip(" ") == other.strip(" ")


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
        return TolerantText(text) if isinstance(text, str) else text

    IPyNbCell.sanitize = tolerant


def pytest_collection_modifyitems(items):
    for item in items:
        if hasattr(item, "output_timeout"):  # nbval's; its 5 s are short for a busy machine
            item.output_timeout = 600
