"""After nbval has run the notebooks in order, into the empty folder HJEPA_ARTIFACTS: `pytest -m chain`."""

import json
import os
from pathlib import Path

import nbformat
import pytest
from helpers import ROOT, TolerantText

from hjepa_utils.__main__ import main
from hjepa_utils.project.publish import refreshed

pytestmark = pytest.mark.chain
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_has_saved_its_results(path):
    saved = json.loads((Path(os.environ["HJEPA_ARTIFACTS"]) / "quick" / "results.json").read_text())
    assert saved["results"][path.stem]


def test_the_command_line_runs_a_real_notebook_to_the_committed_outputs(tmp_path, monkeypatch, capsys):
    """Its kernels are papermill's; compared is what it would publish."""
    monkeypatch.setenv("HJEPA_ARTIFACTS", str(tmp_path))
    for name in ("HJEPA_HEADLESS", "TQDM_DISABLE", "PYDEVD_DISABLE_FILE_VALIDATION", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "1")  # as `run` does, and undone after this test
    first = NOTEBOOKS[0]
    assert main(["run", "--only", first.stem[:2]]) == 0
    assert f"[1/1] {first.stem}" in capsys.readouterr().out
    costs = json.loads((tmp_path / "quick" / "costs.json").read_text())
    assert costs[first.stem]["seconds"] > 0
    now = texts(refreshed(first, tmp_path / "quick" / "executed" / first.name))
    committed = texts(first.read_text(encoding="utf-8"))
    assert len(committed) > 3
    assert list(map(TolerantText, now)) == committed


def texts(notebook):
    """Of all outputs that nbval would compare."""
    cells = nbformat.reads(notebook, as_version=4).cells
    compared = [c for c in cells if "nbval-ignore-output" not in c.metadata.get("tags", ())]
    outputs = [output for cell in compared for output in cell.get("outputs", ())]
    return [output.get("text") or output.data.get("text/plain", "") for output in outputs]
