"""Artifacts that are missing, stale, damaged or foreign are refused; what is written is whole."""

import json
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from helpers import no_file_above
from safetensors.torch import save_file

from hjepa_utils import check, seeded, start_run
from hjepa_utils.runs.files import ArtifactError, write_atomically, write_json
from hjepa_utils.runs.run import artifacts_root

MADE, USED = "01_generate_videos", "02_extract_vjepa_latents"


@pytest.fixture(autouse=True)
def artifacts(tmp_path, monkeypatch):
    monkeypatch.setenv("HJEPA_ARTIFACTS", str(tmp_path / "artifacts"))
    return tmp_path / "artifacts"


def make(notebook=MADE, settings=None, *, seed=0, content="some data", inputs=()):
    """A finished notebook with one file."""
    run = start_run(notebook, scale="quick", seed=seed)
    run.begin(settings or {"n_videos": 3}, inputs=inputs)
    (run.folder / "parts").mkdir(exist_ok=True)
    (run.folder / "parts" / "a.bin").write_text(content)
    run.finish()
    return run


def begin_user(seed=0):
    return start_run(USED, scale="quick", seed=seed).begin({}, inputs=[MADE])


def test_artifacts_go_where_the_environment_says(artifacts, monkeypatch):
    assert start_run(MADE, scale="paper", seed=3).folder == artifacts.resolve() / "paper" / MADE
    monkeypatch.delenv("HJEPA_ARTIFACTS")
    assert artifacts_root().parts[-2:] == ("notebooks", "artifacts")
    monkeypatch.setenv("HJEPA_ARTIFACTS", "")
    assert artifacts_root().parts[-2:] == ("notebooks", "artifacts")


@pytest.mark.parametrize(
    ("scale", "seed", "words"),
    [
        ("huge", 0, r"SCALE must be one of \('quick', 'paper'\), got 'huge'"),
        ("quick", -1, "SEED must be a whole number from 0, got -1"),
        ("quick", "0", "SEED must be a whole number from 0, got '0'"),
    ],
)
def test_an_unknown_scale_or_seed_is_refused(scale, seed, words):
    with pytest.raises(ValueError, match=words):
        start_run(MADE, scale=scale, seed=seed)


def test_settings_are_chosen_by_scale():
    for scale, n_epochs in (("quick", 5), ("paper", 50)):
        chosen = start_run(MADE, scale=scale, seed=0).choose(n_epochs=(5, 50), lr=(1e-3, 1e-3))
        assert vars(chosen) == {"n_epochs": n_epochs, "lr": 1e-3}


def test_a_finished_input_is_given_as_its_folder():
    run = make()
    assert begin_user() == [run.folder]
    assert run.settings_of(MADE) == {"n_videos": 3}
    manifest = json.loads((run.folder / "manifest.json").read_text())
    assert manifest["seed"] == 0 and list(manifest["files"]) == ["parts/a.bin"]
    assert {"torch", "python"} <= set(manifest["versions"])


@pytest.mark.parametrize("begun", [False, True])
def test_a_missing_or_unfinished_input_names_the_notebook_to_run(begun):
    if begun:
        start_run(MADE, scale="quick", seed=0).begin({"n_videos": 3})
    with pytest.raises(ArtifactError, match=f"is missing: run notebook {MADE} first"):
        begin_user()


@pytest.mark.parametrize("content", ["some dat", "", "some datA", None])
def test_a_truncated_changed_or_deleted_file_is_refused(content):
    file = make().folder / "parts" / "a.bin"
    file.unlink() if content is None else file.write_text(content)
    wrong = "missing" if content is None else "damaged or was changed"
    with pytest.raises(ArtifactError, match=rf"a\.bin is {wrong}: run notebook {MADE} again"):
        begin_user()


@pytest.mark.parametrize("content", [b"", b'{"notebook": ', b"\xff\xfe\x00 no text", b"{}", b"[]"])
def test_a_damaged_manifest_is_refused(content):
    (make().folder / "manifest.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"{MADE}/manifest\.json is damaged"):
        begin_user()


def test_an_artifact_of_another_seed_is_refused():
    make(seed=1)
    with pytest.raises(ArtifactError, match=rf"another run \(seed 1\): run notebook {MADE} again .*SEED = 0"):
        begin_user(seed=0)


def test_an_artifact_made_from_an_earlier_run_is_stale():
    make()
    make(USED, inputs=[MADE])
    user = start_run("03_train_hnn", scale="quick", seed=0)
    user.begin({}, inputs=[USED])
    make(settings={"n_videos": 4})
    with pytest.raises(
        ArtifactError, match=f"is stale, {MADE} has been run since: run notebook {USED} again"
    ):
        user.begin({}, inputs=[USED])


def test_running_again_with_the_same_outcome_keeps_later_artifacts_fresh():
    make()
    make(USED, inputs=[MADE])
    make()
    user = start_run("03_train_hnn", scale="quick", seed=0)
    assert user.begin({}, inputs=[USED]) == [user.scale_folder / USED]


def test_the_same_settings_keep_finished_parts_and_sweep_up_unfinished_ones(capsys):
    run = start_run(MADE, scale="quick", seed=0)
    run.begin({"sizes": (1, 2)})
    (run.folder / "parts").mkdir()
    (run.folder / "parts" / "done.bin").touch()
    (run.folder / "parts" / ".unfinished-xyz.bin").touch()
    run.begin({"sizes": [1, 2]})  # a tuple is a list once it is in JSON
    assert [path.name for path in (run.folder / "parts").iterdir()] == ["done.bin"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("change", ["settings", "inputs", "no begun.json"])
def test_other_settings_clear_the_folder_and_say_so(capsys, change):
    make()
    run = make(USED, inputs=[MADE])
    make(content="other data" if change == "inputs" else "some data")
    if change == "no begun.json":
        (run.folder / "begun.json").unlink()
    run.begin({"n_videos": 4 if change == "settings" else 3}, inputs=[MADE])
    assert [path.name for path in run.folder.iterdir()] == ["begun.json"]
    assert f"{USED} changed: its earlier artifacts are removed" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["/proc/nowhere", "a file/below", "a file"])
def test_a_folder_that_cannot_be_written_is_one_clear_sentence(tmp_path, monkeypatch, place):
    (tmp_path / "a file").touch()
    monkeypatch.setenv("HJEPA_ARTIFACTS", place if place[0] == "/" else str(tmp_path / place))
    with pytest.raises(OSError, match=r"cannot write to .*HJEPA_ARTIFACTS to a folder") as refused:
        start_run(MADE, scale="quick", seed=0).begin({})
    assert str(refused.value).count("cannot write") == 1


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half(unfinished):
        Path(unfinished).write_text("ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, write_half)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with path.open() as reader:
        write_atomically(path, lambda unfinished: Path(unfinished).write_text("new"))
        assert reader.read() == "old" and path.read_text() == "new"  # replaced, not overwritten


@pytest.mark.parametrize("kind", ["text", "tensors", "figure"])
def test_a_full_disk_is_one_clear_sentence_and_leaves_nothing(kind):
    run = make()
    figure = plt.figure()
    figure.add_subplot().imshow(np.random.default_rng(0).random((200, 200)))
    tensors = {"a": torch.zeros(50_000)}
    write = {
        "text": lambda: run.save_results({"numbers": list(range(50_000))}),
        "tensors": lambda: write_atomically(run.folder / "a.safetensors", lambda p: save_file(tensors, p)),
        "figure": lambda: run.save_figure(figure, "figure"),
    }[kind]
    with no_file_above(5_000), pytest.raises(OSError, match=r"cannot write to .*free some space") as refused:
        write()
    assert str(refused.value).count("cannot write") == 1
    left = [path.name for path in run.scale_folder.rglob("*") if path.is_file()]
    assert sorted(left) == ["a.bin", "begun.json", "manifest.json"]
    run.save_figure(figure, "figure_3")  # there is space again
    assert (run.scale_folder / "figures" / "figure_3.png").read_bytes().startswith(b"\x89PNG")


def test_json_holds_no_nan(tmp_path):
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError):
            write_json(tmp_path / "a.json", {"mse": [1.0, value]})
    assert not (tmp_path / "a.json").exists()


def test_results_are_merged_in_order_and_repeat_byte_for_byte():
    later, earlier = make(USED), make()
    path = earlier.scale_folder / "results.json"
    later.save_results({"mse": 0.5}, wall_clock={"ms": 3.2}, encoder="embedded")
    earlier.save_results({"n_videos": 50})
    first, saved = path.read_bytes(), json.loads(path.read_text())
    assert list(saved["results"]) == [MADE, USED] and saved["wall_clock"] == {USED: {"ms": 3.2}}
    assert saved["run"]["encoder"] == "embedded" and saved["run"]["seed"] == 0
    assert earlier.results_of(USED) == {"mse": 0.5}
    later.save_results({"mse": 0.5}, wall_clock={"ms": 3.2}, encoder="embedded")
    earlier.save_results({"n_videos": 50})
    assert path.read_bytes() == first
    with pytest.raises(ArtifactError, match="no results of 04_ablations: run that notebook first"):
        earlier.results_of("04_ablations")


def test_a_check_prints_its_verdict(capsys):
    for value, bounds in [(190, {"equals": 190}), (0.5, {"at_least": 0.5}), (3, {"at_most": 5})]:
        check("test windows", value, **bounds)
        assert capsys.readouterr().out.startswith("passed: test windows")


@pytest.mark.parametrize("value", [189, 0.4, math.nan, np.float32("nan")])
@pytest.mark.parametrize("bounds", [{"equals": 190}, {"at_least": 200}, {"at_most": 0.3}])
def test_a_check_that_fails_raises(value, bounds):
    with pytest.raises(AssertionError, match=r"test windows: .*, expected (equal to|at least|at most)"):
        check("test windows", value, **bounds)


def test_seeded_draws_repeat_and_leave_the_global_generator_alone():
    before = torch.random.get_rng_state()
    draws = []
    for seed in (1, 1, 2):
        with seeded(seed):
            draws.append(torch.rand(3))
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert torch.equal(torch.random.get_rng_state(), before)
