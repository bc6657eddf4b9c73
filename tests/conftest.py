"""Keeps trainings in the tests' own process; gives nbval a tolerance for floats."""

import pytest
from helpers import TolerantText


@pytest.fixture(autouse=True)
def in_one_process(request, monkeypatch):
    """Starting processes takes longer than tiny trainings."""
    if "chain" not in request.keywords:
        monkeypatch.setenv("HJEPA_JOBS", "1")


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
        if hasattr(item, "output_timeout"):  # nbval's; its 5 s are short for a training on a busy machine
            item.output_timeout = 1800
