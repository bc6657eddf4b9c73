"""The real notebooks at quick scale, in number order, into a fresh folder: `pytest -m chain`."""

import json
import os
from pathlib import Path

import pytest
from helpers import ROOT

from hjepa_utils.project.runner import CELL_TIMEOUT, run_notebook

pytestmark = pytest.mark.chain
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
not_passed = []  # the first one in it is what stopped the chain


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    return Path(os.environ.get("HJEPA_ARTIFACTS") or tmp_path_factory.mktemp("artifacts"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_and_saves_its_results(path, artifacts, monkeypatch):
    if not_passed:
        pytest.skip(f"{not_passed[0]} did not pass")
    not_passed.append(path.stem)
    monkeypatch.setenv("HJEPA_ARTIFACTS", str(artifacts))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    cost = run_notebook(path, artifacts / "quick" / "executed" / path.name, timeout=CELL_TIMEOUT["quick"])
    print(path.stem, cost)
    saved = json.loads((artifacts / "quick" / "results.json").read_text())
    assert saved["results"][path.stem]
    not_passed.clear()
