"""What `requirements.txt` allows is what is tested: its lowest versions and those of the lock file."""

import re

import pytest
from helpers import ROOT
from packaging.requirements import Requirement

LINES = [line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
REQUIREMENTS = [Requirement(line) for line in LINES if line]
LOCK = dict(re.findall(r"(?m)^([^#\s]+)==(.+)$", (ROOT / "tests" / "requirements.lock").read_text()))


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_the_lock_file_has_a_version_that_is_allowed(requirement):
    assert requirement.specifier.contains(LOCK[requirement.name])


@pytest.mark.parametrize("line", [line for line in LINES if line])
def test_a_lowest_version_is_named_for_colab_setup(line):
    """`lowest_versions` in colab_setup.sh reads two numbers, or three, after a `>=` that comes first."""
    assert re.fullmatch(r"[A-Za-z0-9_-]+>=\d+\.\d+(\.\d+)?(,.*)?", line)
