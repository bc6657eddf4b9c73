"""A notebook opened alone: real small notebooks of a copied project, run by the real command."""

import json
import os
import shutil
import subprocess
import sys

import nbformat
import pytest
from helpers import ROOT
from nbformat.v4 import new_code_cell, new_notebook

NAMES = {1: "01_first", 2: "02_second", 3: "03_third"}
BEGIN = (
    "import sys\nsys.path.insert(0, '.')\nfrom hjepa_utils.runs.run import start_run\n"
    "run = start_run({name!r}, scale=SCALE, seed=SEED, after={after})\n"
)
FINISH = "run.begin({{}}, inputs={inputs})\nrun.save_results({{'seed': SEED}})\nrun.finish()"


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    root = tmp_path_factory.mktemp("a project")
    shutil.copytree(ROOT / "hjepa_utils", root / "hjepa_utils", ignore=shutil.ignore_patterns("assets"))
    (root / "notebooks").mkdir()
    (root / "figures").mkdir()
    costs = {name: {"seconds": 50 * number} for number, name in NAMES.items()}
    (root / "figures" / "results.json").write_text(json.dumps({"wall_clock": {"quick_costs": costs}}))
    return root


def add(project, number, after, inputs, extra=""):
    cells = [
        new_code_cell(
            'SCALE = "quick"  # @param ["quick", "paper"]\nSEED = 0', metadata={"tags": ["parameters"]}
        ),
        new_code_cell(BEGIN.format(name=NAMES[number], after=after) + extra),
        new_code_cell(FINISH.format(inputs=[NAMES[n] for n in inputs])),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path = project / "notebooks" / f"{NAMES[number]}.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata=kernel), path)


@pytest.fixture
def project(copied):
    add(copied, 1, [], [])
    add(copied, 2, [1], [1])
    add(copied, 3, [1, 2], [2])
    shutil.rmtree(copied / "artifacts", ignore_errors=True)
    return copied


def open_alone(project, number, after, inputs, scale="quick", seed=0):
    """The cells of a notebook in a process of its own, in another folder; (exit status, output, errors)."""
    source = BEGIN.format(name=NAMES[number], after=after) + FINISH.format(inputs=[NAMES[n] for n in inputs])
    done = subprocess.run(
        [sys.executable, "-c", f"SCALE, SEED = {scale!r}, {seed}\n{source}"],
        cwd=project / "notebooks",
        env=os.environ | {"HJEPA_ARTIFACTS": "../artifacts", "PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


def test_what_is_missing_is_run_once_in_order_with_the_same_seed(project):
    status, out, err = open_alone(project, 3, [1, 2], [2], seed=5)
    assert (status, err) == (0, "")
    first, *progress = out.splitlines()
    assert first == ("running first what this notebook reads, about 3 minutes: 01_first, 02_second")
    assert progress == ["[1/2] 01_first", "[2/2] 02_second"]
    results = json.loads((project / "artifacts" / "quick, seed 5" / "results.json").read_text())["results"]
    assert results == {name: {"seed": 5} for name in NAMES.values()}
    assert open_alone(project, 3, [1, 2], [2], seed=5) == (0, "", "")  # everything is there


def test_only_what_stands_behind_the_last_that_has_run_is_run(project):
    """With videos of one's own notebook 1 is never run, and not needed."""
    add(project, 2, [], [])
    assert open_alone(project, 2, [], [])[0] == 0
    assert open_alone(project, 3, [1, 2], [2]) == (0, "", "")
    assert not (project / "artifacts" / "quick" / NAMES[1]).exists()


def test_a_failure_is_told_with_its_reason(project):
    add(project, 1, [], [], "raise ValueError('no video')")
    status, _, err = open_alone(project, 3, [1, 2], [2])
    assert status == 1
    assert "ArtifactError: what this notebook reads could not be made: 01_first: ValueError: no video" in err


def test_hours_at_the_papers_scale_are_begun_on_purpose(project):
    status, out, err = open_alone(project, 3, [1, 2], [2], scale="paper")
    assert (status, out) == (1, "")
    assert "02_second/manifest.json is missing: run notebook 02_second first (SCALE = 'paper'" in err


def test_without_published_times_no_time_is_named(project):
    published = project / "figures" / "results.json"
    text = published.read_text()
    published.unlink()
    try:
        _, out, _ = open_alone(project, 2, [1], [1])
    finally:
        published.write_text(text)
    assert out.startswith("running first what this notebook reads, some minutes: 01_first\n")
