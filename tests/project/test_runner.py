"""The runner, with small notebooks that are really executed."""

import json
import signal
import subprocess
import sys
import time
from contextlib import suppress

import nbformat
import psutil
import pytest
from helpers import ROOT
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from hjepa_utils.__main__ import main
from hjepa_utils.project import arguments, publish, runner
from hjepa_utils.project.arguments import find_notebooks
from hjepa_utils.project.own_videos import without_the_balls
from hjepa_utils.project.publish import refreshed
from hjepa_utils.project.runner import NotebookFailed, run_notebook

PARAMETERS = 'SCALE = "quick"  # @param ["quick", "paper"]\nENCODER = "auto"\nSEED = 0'
# What the real notebooks do through `hjepa_utils.run`: a figure and a section of results.json.
SAVE = """
import json, os, pathlib
name = {name!r}
folder = pathlib.Path(os.environ["HJEPA_ARTIFACTS"]) / SCALE
(folder / "figures").mkdir(parents=True, exist_ok=True)
(folder / "figures" / f"{{name}}.png").write_bytes(SCALE.encode())
(folder / "figures" / f"{{name}}.html").write_bytes(SCALE.encode())
file = folder / "results.json"
saved = json.loads(file.read_text()) if file.exists() else {{"run": {{"scale": SCALE}}, "results": {{}}}}
saved["results"][name] = [SCALE, ENCODER, SEED, os.environ.get("HF_HUB_OFFLINE")]
file.write_text(json.dumps(saved))
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project in a folder with a space; its notebooks are added with `add`."""
    root = tmp_path / "a project"
    (root / "notebooks").mkdir(parents=True)
    monkeypatch.setattr(runner, "ROOT", root)
    monkeypatch.setattr(arguments, "ROOT", root)
    monkeypatch.setenv("HJEPA_ARTIFACTS", str(root / "artifacts"))
    for name in ("HF_HUB_OFFLINE", *runner.QUIET):
        monkeypatch.setenv(name, "0")
    return root


def add(project, name, *sources, parameters=PARAMETERS):
    cells = [new_code_cell(source) for source in (parameters, *sources)]
    cells[0].metadata["tags"] = ["parameters"]
    path = project / "notebooks" / f"{name}.ipynb"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=[new_markdown_cell(f"# {name}"), *cells], metadata=kernel), path)
    return path


def add_pair(project):
    for name, own in (("01_first", "VIDEO_DIR = ''"), ("02_second", "RATE = 0.5")):
        add(project, name, SAVE.format(name=name), parameters=f"{PARAMETERS}\n{own}")


def saved(project, scale, folder="artifacts"):
    return json.loads((project / folder / scale / "results.json").read_text())["results"]


def sources(path):
    return [cell.source for cell in nbformat.read(path, as_version=4).cells]


def test_default_run_injects_nothing_and_reports_costs(project, capsys):
    add_pair(project)
    assert main(["run"]) == 0
    assert saved(project, "quick") == {name: ["quick", "auto", 0, "1"] for name in ("01_first", "02_second")}
    for path in (project / "notebooks").iterdir():
        assert sources(project / "artifacts" / "quick" / "executed" / path.name) == sources(path)
    out = capsys.readouterr().out
    assert "[1/2] 01_first" in out and "[2/2] 02_second" in out
    assert "min, peak" in out and "GB" in out


def test_parameters_reach_only_the_notebooks_that_declare_them(project):
    add_pair(project)
    encoder = project / "encoder"
    encoder.mkdir()
    (encoder / "config.json").write_text('{"model_type": "vjepa2"}')
    (encoder / "model.safetensors").touch()
    arguments = ["--scale", "paper", "--encoder", str(encoder), "-p", "SEED", "7", "-p", "RATE", "2"]
    assert main(["run", *arguments]) == 0
    assert saved(project, "paper")["02_second"] == ["paper", str(encoder), 7, "0"]  # the hub may be needed
    folder = project / "artifacts" / "paper, seed 7"  # as the notebooks' own results
    assert set(json.loads((folder / "costs.json").read_text())) == {"01_first", "02_second", "all"}
    assert not {path.name for path in (project / "artifacts" / "paper").iterdir()} & {
        "executed",
        "costs.json",
    }
    executed = folder / "executed"
    assert "RATE" not in "".join(sources(executed / "01_first.ipynb"))
    assert "RATE = 2" in "".join(sources(executed / "02_second.ipynb"))


def test_from_starts_there(project):
    add_pair(project)
    assert main(["run", "--from", "2", "--encoder", "embedded"]) == 0
    assert saved(project, "quick") == {"02_second": ["quick", "embedded", 0, "1"]}


def test_only_runs_those_named_by_number_or_name(project):
    add_pair(project)
    add(project, "03_third", SAVE.format(name="03_third"))
    assert main(["run", "--only", "3", "01_fi"]) == 0
    assert list(saved(project, "quick")) == ["01_first", "03_third"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "03"], "no notebook begins with '03'; there are: 01_first, 02_second"),
        (["--only", "2", "7"], "no notebook begins with '7'; there are: 01_first, 02_second"),
        (["--only", ""], "no notebook begins with ''"),
        (["-p", "RATES", "2"], "-p RATES: no notebook has this parameter; there are: RATE, SEED, VIDEO_DIR"),
        (["--videos", "/no/such/folder"], "no folder /no/such/folder"),
        (["--videos", ""], "--videos needs a folder"),
        (["--publish", "-p", "SEED", "1"], "--publish takes no -p"),
        (["--publish", "--from", "02"], "--publish takes no -p, --videos and --from"),
        (["--publish", "--encoder", "owner/name"], "--encoder only at paper scale"),
    ],
)
def test_bad_arguments_are_one_sentence_before_anything_runs(project, capsys, arguments, message):
    add_pair(project)
    assert main(["run", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not (project / "artifacts").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scale", "huge"], "'quick', 'paper'"),
        (["--from", "1", "--only", "2"], "not allowed with argument --from"),
        (["--seed", "1"], "unrecognized arguments: --seed 1"),
    ],
)
def test_what_is_no_command_line_ends_with_2(capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        main(["run", *arguments])
    assert message in capsys.readouterr().err


def test_a_failure_after_the_notebooks_is_not_called_bad_arguments(project, capsys, monkeypatch):
    def too_large(*_):
        raise ValueError("01_first.ipynb would be larger than 300 KB")

    add_pair(project)
    monkeypatch.setattr(runner, "refresh_notebooks", too_large)
    assert main(["run", "--publish"]) == 1
    assert "error: 01_first.ipynb would be larger than 300 KB" in capsys.readouterr().err


@pytest.fixture
def own_videos(project, monkeypatch):
    (project / "clips").mkdir()
    (project / "clips" / "a.mp4").touch()
    monkeypatch.chdir(project)
    return project


OF_THE_BALLS = ["01_generate_videos", "06_pretrain_embedded_encoder", "08_controls", "09_true_state"]


def test_notebooks_about_the_balls_are_left_out_for_own_videos(own_videos, capsys):
    project = own_videos
    for name in OF_THE_BALLS:
        add(project, name, "raise ValueError('about the balls')")
    add(project, "02_second", SAVE.format(name="02_second"), parameters=f"{PARAMETERS}\nVIDEO_DIR = ''")
    assert main(["run", "--videos", "clips"]) == 0
    assert list(saved(project, "quick")) == ["02_second"]
    assert f"VIDEO_DIR = {str(project / 'clips')!r}".replace("'", '"') in "".join(
        sources(project / "artifacts" / "quick" / "executed" / "02_second.ipynb")
    )
    out = capsys.readouterr().out
    assert f"left out for your own videos: {', '.join(OF_THE_BALLS)}; " in out
    assert "the embedded encoder was trained on two balls on black" in out
    assert "--encoder facebook/vjepa2-vitl-fpc16-256-ssv2" in out
    assert main(["run", "--videos", "clips", "--only", "6", "8"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: not for your own videos: 06_pretrain_embedded_encoder, 08_controls; ")


def test_own_videos_are_for_the_notebooks_that_take_latents_and_no_true_state(capsys):
    kept = without_the_balls(find_notebooks())
    assert [path.stem[:2] for path in kept] == ["02", "03", "04", "05", "07"]
    for path in kept[1:]:
        assert "02_extract_vjepa_latents" in path.read_text()
    assert "31_hierarchical_planning" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("n_videos", "said"),
    [
        (
            1,
            "error over 15 steps on 1 held-out video, encoder E: your HNN 1.23, your MLP 0.90, the mean 1.00",
        ),
        (
            6,
            "error [95 % interval] over 15 steps on 6 held-out videos, encoder E: "
            "your HNN 1.23 [0.73, 1.73], your MLP 0.90 [0.40, 1.40], the mean 1.00 [0.50, 1.50]",
        ),
    ],
)
def test_a_run_on_own_videos_ends_with_what_came_out(own_videos, capsys, n_videos, said):
    models = {
        name: {"mean": mean, "interval": [mean - 0.5, mean + 0.5], "n_groups": n_videos, "parameters": 7}
        for name, mean in {"HNN": 1.234, "MLP": 0.9, "training mean": 1.0, "persistence": 2.0}.items()
    }
    save = SAVE.format(name="03_train_hnn").replace(
        "[SCALE, ENCODER, SEED", "{'models': MODELS, 'encoder': 'E', 'data': {'length': 16}} or [ENCODER"
    )
    add(own_videos, "02_second", "", parameters=f"{PARAMETERS}\nVIDEO_DIR = ''")
    add(own_videos, "03_train_hnn", f"MODELS = {models}", save)
    assert main(["run", "--videos", "clips", "-p", "SEED", "0"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == said


def test_other_runs_do_not_speak_of_own_videos(own_videos, capsys):
    add(own_videos, "03_train_hnn", SAVE.format(name="03_train_hnn"))
    assert main(["run"]) == 0
    out = capsys.readouterr().out
    assert "own videos" not in out and "held-out" not in out


def test_failure_stops_with_its_cause_on_one_line(project, capsys):
    first = add(project, "01_first", "raise ValueError('no\\nvideo')")
    add(project, "02_second", SAVE.format(name="02_second"))
    before = first.read_bytes()
    assert main(["run"]) == 1
    output = capsys.readouterr()
    errors = [line for line in output.err.splitlines() if line.startswith("error")]
    executed = project / "artifacts" / "quick" / "executed" / "01_first.ipynb"
    assert errors == [f"error: 01_first: ValueError: no video (see {executed})"]
    assert "02_second" not in output.out
    assert executed.exists() and first.read_bytes() == before
    assert [path.name for path in executed.parent.iterdir()] == ["01_first.ipynb"]


def test_dead_kernel_is_said_plainly(project):
    path = add(project, "01_first", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(NotebookFailed, match="01_first: the kernel died without a Python error"):
        run_notebook(path, project / "executed.ipynb")
    assert (project / "executed.ipynb").exists()


def test_timeout_is_said_plainly(project):
    path = add(project, "01_first", "import time\ntime.sleep(60)")
    with pytest.raises(NotebookFailed, match="a cell ran longer than 2 s"):
        run_notebook(path, project / "executed.ipynb", timeout=2)


def test_peak_memory_counts_the_kernel_and_its_children(project):
    child = "import time; block = bytearray(b'x' * 200_000_000); time.sleep(1.5)"
    start = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])"
    cost = run_notebook(add(project, "01_first", start), project / "executed.ipynb")
    assert 200e6 < cost.peak_bytes < 1e9
    assert 1.5 < cost.seconds < 60


def test_unwritable_artifacts_are_one_sentence(project, capsys):
    add_pair(project)
    (project / "artifacts").write_text("a file where the folder should be")
    assert main(["run"]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def kernels_of(process):
    """Its children that run a notebook: while it imports, it also has short ones that look at the machine."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.Error):  # it may have just ended
            found += [child] * any("ipykernel" in word for word in child.cmdline())
    return found


@pytest.mark.parametrize("delay", [0, 4], ids=["while starting", "while running"])
def test_ctrl_c_ends_the_kernel_without_a_traceback(project, delay):
    add(project, "01_first", "import time\ntime.sleep(100)")
    command = (
        "import signal, sys, pathlib; from hjepa_utils.__main__ import main; "
        "from hjepa_utils.project import arguments, runner; "
        "runner.ROOT = arguments.ROOT = pathlib.Path(sys.argv[1]); "
    )
    # A shell starts what it puts into the background, as some CI does, with Ctrl-C ignored.
    command += "signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(main(['run']))"
    running = subprocess.Popen([sys.executable, "-c", command, project], cwd=ROOT, stderr=subprocess.PIPE)
    executed = project / "artifacts" / "quick" / "executed"
    kernels, deadline = [], time.monotonic() + 120
    while not kernels and time.monotonic() < deadline:
        time.sleep(0.1)
        kernels = kernels_of(running)
    time.sleep(delay)
    running.send_signal(signal.SIGINT)
    errors = running.communicate(timeout=60)[1].decode()
    assert running.returncode == 130
    assert errors == "\ninterrupted: the same command goes on where it stopped\n"
    assert not any(kernel.is_running() for kernel in kernels)
    assert (executed / "01_first.ipynb").exists()


def test_publish_quick_refreshes_notebooks_and_figures(project):
    add_pair(project)
    (project / "figures").mkdir()
    for name in ("stale.png", "stale.html"):
        (project / "figures" / name).touch()
    before = sources(project / "notebooks" / "01_first.ipynb")
    assert main(["run", "--publish"]) == 0
    notebook = nbformat.read(project / "notebooks" / "01_first.ipynb", as_version=4)
    assert [cell.source for cell in notebook.cells] == before
    assert [cell.execution_count for cell in notebook.cells[1:]] == [1, 2]
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)
    assert sorted(p.name for p in (project / "figures").iterdir()) == [
        "01_first.html",
        "01_first.png",
        "02_second.html",
        "02_second.png",
        "results.json",
    ]


def test_publish_paper_keeps_quick_outputs_in_the_notebooks(project):
    for name in ("01_first", "02_second"):
        add(project, name, SAVE.format(name=name), "print(SCALE)")
    figures = project / "figures"
    assert main(["run", "--scale", "paper", "--encoder", "embedded", "--publish"]) == 0
    assert saved(project, ".", "figures")["01_first"] == ["paper", "embedded", 0, "1"]
    notebook = nbformat.read(project / "notebooks" / "01_first.ipynb", as_version=4)
    assert notebook.cells[-1].outputs[0].text == "quick\n"
    assert main(["run", "--publish"]) == 0  # must not replace the paper's figures
    assert (figures / "01_first.png").read_bytes() == b"paper"


def test_publish_of_some_leaves_the_others_as_they_are(project, capsys):
    first = add(project, "01_first", SAVE.format(name="01_first"))
    assert main(["run", "--scale", "paper", "--encoder", "embedded", "--publish"]) == 0
    add(project, "02_second", SAVE.format(name="02_second"), "print(SCALE)")
    figures, before = project / "figures", first.read_bytes()
    kept = json.loads((figures / "results.json").read_text())
    only = ["--only", "2", "--encoder", "embedded", "--publish"]
    assert main(["run", "--scale", "paper", *only]) == 0
    now = json.loads((figures / "results.json").read_text())
    assert now["run"] == kept["run"] and list(now["results"]) == ["01_first", "02_second"]
    assert now["results"]["01_first"] == kept["results"]["01_first"]
    for scale in ("paper_costs", "quick_costs"):
        costs, old = now["wall_clock"][scale], kept["wall_clock"][scale]
        assert costs["01_first"] == old["01_first"]
        assert costs["all"]["seconds"] == costs["01_first"]["seconds"] + costs["02_second"]["seconds"]
    assert {p.name for p in figures.iterdir()} >= {"01_first.png", "02_second.png"}
    assert first.read_bytes() == before
    second = nbformat.read(project / "notebooks" / "02_second.ipynb", as_version=4)
    assert second.cells[-1].outputs[0].text == "quick\n"


def test_some_cannot_be_published_before_all(project, capsys):
    add_pair(project)
    paper = ["--scale", "paper", "--only", "2", "--encoder", "embedded", "--publish"]
    assert main(["run", *paper]) == 1
    assert "publish all notebooks first, without --only" in capsys.readouterr().err


def test_failed_publish_changes_nothing(project):
    first = add(project, "01_first", SAVE.format(name="01_first"))
    add(project, "02_second", "1 / 0")
    before = first.read_bytes()
    assert main(["run", "--publish"]) == 1
    assert first.read_bytes() == before and not (project / "figures").exists()


def test_refreshed_takes_only_counts_and_outputs(project):
    path = add(project, "01_first", "1.5")
    ran = nbformat.read(path, as_version=4)
    ran.metadata |= {"papermill": {"duration": 1}, "widgets": {"state": {}}}
    data = {"text/plain": "1.5", publish._WIDGET: {"model_id": "abc"}}
    ran.cells[2].update(execution_count=2, metadata={"papermill": {"duration": 1}, "execution": {}})
    ran.cells[2].outputs = [nbformat.v4.new_output("execute_result", data, execution_count=2)]
    nbformat.write(ran, project / "executed.ipynb")
    notebook = nbformat.reads(refreshed(path, project / "executed.ipynb"), as_version=4)
    assert notebook.cells[2].outputs[0].data == {"text/plain": "1.5"}
    assert notebook.cells[2].execution_count == 2 and not notebook.cells[2].metadata
    assert [cell.id for cell in notebook.cells] == [cell.id for cell in ran.cells]
    assert not {"papermill", "widgets"} & set(notebook.metadata)


def test_refreshed_refuses_other_cells_and_large_outputs(project):
    path, other = add(project, "01_first", "1.5"), add(project, "02_second", "2.5")
    with pytest.raises(ValueError, match="the executed copy has other cells"):
        refreshed(path, other)
    large = nbformat.read(path, as_version=4)
    large.cells[2].outputs = [nbformat.v4.new_output("stream", text="x" * 300_001)]
    nbformat.write(large, other)
    with pytest.raises(ValueError, match="would be larger than 300 KB"):
        refreshed(path, other)
