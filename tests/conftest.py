"""Gives nbval a tolerance for floats."""

from helpers import TolerantText


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
