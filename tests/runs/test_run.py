"""Artifacts that are missing, stale, damaged or foreign are refused; what is written is whole."""

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from helpers import ROOT, no_file_above
from safetensors.torch import save_file

from hjepa_utils import check, seeded, start_run
from hjepa_utils.runs.files import ArtifactError, file_hash, read_json, write_atomically, write_json
from hjepa_utils.runs.places import artifacts_root

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
    assert start_run(MADE, scale="paper", seed=0).folder == artifacts.resolve() / "paper" / MADE
    assert start_run(MADE, scale="paper", seed=3).folder == artifacts.resolve() / "paper, seed 3" / MADE
    monkeypatch.delenv("HJEPA_ARTIFACTS")
    assert artifacts_root().parts[-2:] == ("notebooks", "artifacts")
    monkeypatch.setenv("HJEPA_ARTIFACTS", "")
    assert artifacts_root().parts[-2:] == ("notebooks", "artifacts")


@pytest.mark.parametrize(
    ("scale", "seed", "words"),
    [
        ("huge", 0, r"SCALE must be one of \('quick', 'paper'\), got 'huge'"),
        ("quick", -1, "SEED must be a whole number from 0 to 4294967295, got -1"),
        ("quick", "0", "SEED must be a whole number from 0 to 4294967295, got '0'"),
        ("quick", 0.0, "SEED must be a whole number from 0 to 4294967295, got 0.0"),
        ("quick", 20261126133244, "SEED must be a whole number from 0 to 4294967295, got 20261126133244"),
    ],
)
def test_an_unknown_scale_or_seed_is_refused(scale, seed, words):
    with pytest.raises(ValueError, match=words):
        start_run(MADE, scale=scale, seed=seed)


@pytest.mark.parametrize("seed", [np.int64(3), np.uint8(3), torch.tensor(3)])
def test_any_whole_number_is_a_seed(seed):
    run = start_run(MADE, scale="quick", seed=seed)
    run.begin({})
    run.finish()
    assert run.seed == 3 and type(run.seed) is int
    assert start_run(USED, scale="quick", seed=3).begin({}, inputs=[MADE]) == [run.folder]


def test_a_plain_setting_is_for_both_scales_and_three_values_are_refused():
    for scale in ("quick", "paper"):
        chosen = start_run(MADE, scale=scale, seed=0).choose(fps=30, sizes=[1, 2, 3], batches=((1,), (1, 2)))
        assert chosen.fps == 30 and chosen.sizes == [1, 2, 3]
        assert chosen.batches == ((1,) if scale == "quick" else (1, 2))
    with pytest.raises(ValueError, match=r"sizes must be one value, or a pair for .*, got \(1, 2, 3\)"):
        start_run(MADE, scale="quick", seed=0).choose(sizes=(1, 2, 3))


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


DAMAGE = {
    "empty": b"",
    "half": b'{"notebook": ',
    "no text": b"\xff\xfe\x00",
    "no keys": b"{}",
    "a list": b"[]",
    "too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_manifest_is_refused_and_its_notebook_mends_it(content):
    path = make().folder / "manifest.json"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"{MADE}/manifest\.json is damaged: run notebook {MADE} again"):
        begin_user()
    make()
    assert begin_user() == [path.parent]


@pytest.mark.parametrize("key", ["files", "settings", "inputs"])
def test_a_manifest_with_a_list_for_a_table_is_damaged(key):
    path = make().folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: ["a"]}))
    with pytest.raises(ArtifactError, match=rf"manifest\.json is damaged: run notebook {MADE} again"):
        begin_user()


EDITS = {
    "settings": {"settings": {"n_videos": 4}},
    "no files": {"files": {}},
    "seed": {"seed": 1},
    "digest": {"digest": "0" * 64},
    "an absolute name": {"files": {"/etc/hostname": "0" * 64}},
    "a name outside": {"files": {"../elsewhere": "0" * 64}},
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_manifest_edited_by_hand_is_refused(edit):
    path = make().folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | edit))
    with pytest.raises(
        ArtifactError, match=rf"manifest\.json was changed by hand: run notebook {MADE} again"
    ):
        begin_user()


@pytest.mark.parametrize("name", ["/etc/hostname", "../elsewhere"])
def test_a_file_outside_the_folder_is_never_read_even_with_a_right_digest(name):
    path = make().folder / "manifest.json"
    manifest = json.loads(path.read_text()) | {"files": {name: "0" * 64}}
    made_from = {key: manifest[key] for key in ("settings", "seed", "inputs")}
    text = json.dumps([made_from, manifest["files"]], sort_keys=True)
    manifest["digest"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="was changed by hand"):
        begin_user()


def test_states_of_trainings_are_not_handed_on_but_latents_of_dated_videos_are():
    run = start_run(MADE, scale="quick", seed=0)
    run.begin({})
    for name in ("clip-20240101.safetensors", "training-1a2b3c4d.state.safetensors"):
        (run.folder / name).touch()
    run.finish()
    manifest = json.loads((run.folder / "manifest.json").read_text())
    assert list(manifest["files"]) == ["clip-20240101.safetensors"]


def test_seeds_have_folders_of_their_own(artifacts):
    first, second = make(seed=0), make(seed=1, content="other data")
    first.save_results({"n": 0})
    second.save_results({"n": 1})
    assert first.results_of(MADE) == {"n": 0} and second.results_of(MADE) == {"n": 1}
    assert begin_user(seed=0) == [first.folder] and begin_user(seed=1) == [second.folder]
    with pytest.raises(ArtifactError, match=rf"is missing: run notebook {MADE} first .*SEED = 2"):
        begin_user(seed=2)


def test_an_artifact_copied_from_another_seed_is_refused():
    made = make(seed=1)
    shutil.copytree(made.folder, made.scale_folder.with_name("quick") / MADE)
    with pytest.raises(
        ArtifactError, match=rf"another run \(quick, seed 1\): run notebook {MADE} again .*SEED = 0"
    ):
        begin_user(seed=0)


def test_an_artifact_made_from_an_earlier_run_is_stale():
    make()
    make(USED, inputs=[MADE])
    user = start_run("03_train_hnn", scale="quick", seed=0)
    user.begin({}, inputs=[USED])
    make(settings={"n_videos": 4})
    changed = rf"\(n_videos 3, now 4\): run notebook {USED} again"
    with pytest.raises(
        ArtifactError, match=f"is stale, {MADE} has been run since with other settings {changed}"
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


@pytest.mark.parametrize("change", ["settings", "inputs"])
def test_what_other_settings_made_is_kept_and_comes_back_with_them(capsys, change):
    figure = plt.figure()
    make()
    run = make(USED, inputs=[MADE])
    run.save_results({"mse": 0.5})
    run.save_figure(figure, "figure_1")
    before = {p.relative_to(run.folder): p.read_bytes() for p in run.folder.rglob("*") if p.is_file()}
    make(content="other data" if change == "inputs" else "some data")
    run.begin({"n_videos": 4 if change == "settings" else 3}, inputs=[MADE])
    assert [path.name for path in run.folder.iterdir()] == ["begun.json"]
    what = "n_videos 3, now 4" if change == "settings" else MADE
    begins, *more = capsys.readouterr().out.splitlines()
    assert begins.startswith(
        f"{USED} begins anew ({what}): its earlier artifacts are kept in earlier/{USED}, "
    )
    assert more == []
    run.save_results({"mse": 0.7})
    run.finish()
    (kept,) = (run.scale_folder / "earlier").glob(f"{USED}, *")
    assert {p.relative_to(kept): p.read_bytes() for p in kept.rglob("*") if p.is_file()} == before
    assert json.loads((kept / "shown" / "results.json").read_text())["results"] == {"mse": 0.5}
    assert (kept / "shown" / "figure_1.png").exists()

    make()
    run.begin({"n_videos": 3}, inputs=[MADE])
    back = {p.relative_to(run.folder): p.read_bytes() for p in run.folder.rglob("*") if p.is_file()}
    assert back == before and len(list((run.scale_folder / "earlier").glob(f"{USED}, *"))) == 1
    assert f"{USED}: went back to these settings" in capsys.readouterr().out


@pytest.mark.parametrize("left", [None, ".unfinished-x.json", "shown/figure_1.png"])
def test_what_an_interrupted_begin_left_gives_way_to_earlier_artifacts(monkeypatch, left):
    def interrupted(*_):
        raise KeyboardInterrupt

    run = make(settings={"n_videos": 3})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("hjepa_utils.runs.run.write_json", interrupted)
        run.begin({"n_videos": 4})
    assert list(run.folder.iterdir()) == []
    if left:
        (run.folder / left).parent.mkdir(exist_ok=True)
        (run.folder / left).touch()
    run.begin({"n_videos": 3})
    assert (run.folder / "parts" / "a.bin").read_text() == "some data"
    assert (run.folder / "shown" / "figure_1.png").exists() == (left == "shown/figure_1.png")
    assert list(run.folder.rglob(".unfinished-*")) == list((run.scale_folder / "earlier").iterdir()) == []


def test_a_whole_chain_goes_back_to_earlier_settings():
    first = make(), make(USED, inputs=[MADE])
    manifests = [(run.folder / "manifest.json").read_bytes() for run in first]
    make(settings={"starts": "fixed"}, content="fixed"), make(USED, inputs=[MADE], content="of fixed")
    user = start_run("03_train_hnn", scale="quick", seed=0)
    user.begin({}, inputs=[USED])
    assert (user.scale_folder / USED / "parts" / "a.bin").read_text() == "of fixed"
    for run, inputs in zip(first, ([], [MADE]), strict=True):
        start_run(run.notebook, scale="quick", seed=0).begin({"n_videos": 3}, inputs=inputs)
    assert [(run.folder / "manifest.json").read_bytes() for run in first] == manifests
    user.begin({}, inputs=[USED])
    assert (user.scale_folder / USED / "parts" / "a.bin").read_text() == "some data"


def test_a_folder_that_no_run_made_is_left_alone():
    run = start_run(MADE, scale="quick", seed=0)
    run.folder.mkdir(parents=True)
    run.begin({})  # an empty one can be taken
    (run.folder / "begun.json").unlink()
    (run.folder / "mine.txt").write_text("my own data")
    with pytest.raises(ArtifactError, match=rf"{MADE} has files but no begun\.json.*: move it elsewhere"):
        run.begin({})
    assert (run.folder / "mine.txt").read_text() == "my own data"


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
def test_damaged_results_are_named_and_only_that_file_need_go(content):
    run = make()
    path = run.scale_folder / "results.json"
    path.write_bytes(content)
    if content == b"{}":
        return run.save_results({"n": 1})
    with pytest.raises(ArtifactError, match=r"results\.json is damaged: delete that file; each notebook"):
        run.save_results({"n": 1})
    with pytest.raises(ArtifactError, match=r"results\.json is damaged: delete that file; each notebook"):
        run.results_of(MADE)
    assert path.read_bytes() == content


def test_results_with_a_list_for_a_table_are_damaged():
    run = make()
    (run.scale_folder / "results.json").write_text('{"run": [], "results": {}}')
    with pytest.raises(ArtifactError, match=r"results\.json is damaged: delete that file"):
        run.save_results({"n": 1})


RUN_AND_WAIT = """
import sys, hjepa_utils as hj
run = hj.start_run(sys.argv[1], scale="quick", seed=0)
run.begin({"n_videos": 3})
print("begun", flush=True)
sys.stdin.readline()
for n in range(int(sys.argv[2])):
    run.save_results(n)
"""


def another_run(notebook, n_results=0):
    command = [sys.executable, "-c", RUN_AND_WAIT, notebook, str(n_results)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ, **pipes)
    assert process.stdout.readline() == "begun\n"
    return process


def test_two_runs_at_once_keep_out_of_one_folder():
    run = start_run(MADE, scale="quick", seed=0)
    other = another_run(MADE)
    unfinished = run.folder / ".unfinished-theirs.mp4"
    unfinished.touch()
    for settings in ({"n_videos": 3}, {"n_videos": 4}):
        with pytest.raises(
            ArtifactError, match=rf"another run \(process {other.pid}\) uses .*HJEPA_ARTIFACTS"
        ):
            run.begin(settings)
    assert unfinished.exists()
    start_run(MADE, scale="quick", seed=1).begin({"n_videos": 3})  # its folder is another
    other.kill()
    other.communicate()
    run.begin({"n_videos": 3})  # the lock went with the process
    run.begin({"n_videos": 3})
    assert not unfinished.exists()


def test_a_finished_run_lets_others_begin():
    run = make()
    another_run(MADE).communicate("\n")
    assert run.notebook == MADE  # it is still there


BEGIN = """
import sys, hjepa_utils as hj
try:
    hj.start_run(sys.argv[1], scale="quick", seed=0).begin({"n_videos": 3})
except hj.ArtifactError as refused:
    print(refused)
"""


def refusal_elsewhere(notebook):
    """What another process is told that begins this notebook: nothing if it may."""
    command = [sys.executable, "-c", BEGIN, notebook]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def test_of_two_runs_in_one_process_the_last_one_opens_the_folder():
    first, second = (start_run(MADE, scale="quick", seed=0) for _ in range(2))
    first.begin({"n_videos": 3})
    second.begin({"n_videos": 3})
    first.finish()
    assert f"another run (process {os.getpid()}) uses {first.folder}" in refusal_elsewhere(MADE)
    second.finish()
    assert refusal_elsewhere(MADE) == ""


def test_a_run_that_nothing_refers_to_keeps_nobody_out():
    """As when the first cells of a notebook are run once more, and then all of them."""
    run = start_run(MADE, scale="quick", seed=0)
    run.begin({"n_videos": 3})
    run = start_run(MADE, scale="quick", seed=0)
    run.begin({"n_videos": 3})
    run.finish()
    assert refusal_elsewhere(MADE) == ""


def test_runs_side_by_side_lose_no_results():
    others = [another_run(name, 15) for name in (MADE, USED)]
    for other in others:
        other.stdin.write("\n")
        other.stdin.flush()
    assert [other.wait() for other in others] == [0, 0]
    for other in others:
        other.communicate()
    run = start_run("03_train_hnn", scale="quick", seed=0)
    assert [run.results_of(name) for name in (MADE, USED)] == [14, 14]


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
    left = {path.name for path in run.scale_folder.rglob("*") if path.is_file()}
    assert left - {f".{MADE}.lock", ".results.lock"} == {"a.bin", "begun.json", "manifest.json"}
    run.save_figure(figure, "figure_3")  # there is space again
    assert (run.scale_folder / "figures" / "figure_3.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("made", ["file", "folder"])
def test_what_is_in_the_way_is_no_matter_of_space(tmp_path, made):
    path = tmp_path / "a" / "b.json"
    if made == "file":
        path.parent.touch()
    else:
        path.mkdir(parents=True)
    with pytest.raises(OSError, match=r"cannot write to .*: move away what has its name, or set") as refused:
        write_json(path, {})
    assert "free some space" not in str(refused.value)


def test_a_disk_that_knows_no_modes_is_written_all_the_same(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", refuse)
    write_json(tmp_path / "a.json", {"a": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_others_may_read_what_is_written(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    write_atomically(tmp_path / "b.safetensors", lambda p: save_file({"a": torch.zeros(1)}, p))
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o644}


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_json("~/a.json", {"a": 1})
    assert read_json("~/a.json") == {"a": 1} and len(file_hash("~/a.json")) == 64
    assert (tmp_path / "a.json").exists()


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


def test_a_check_without_a_bound_is_no_check():
    with pytest.raises(TypeError, match="check needs one of equals, at_least, at_most"):
        check("test windows", 190)


def test_a_check_with_two_bounds_holds_both(capsys):
    check("error", 0.5, at_least=0, at_most=0.5)
    assert capsys.readouterr().out == "passed: error (at least 0, at most 0.5)\n"
    check("videos", 3, at_least=0)
    assert capsys.readouterr().out == "passed: videos = 3 (at least 0)\n"
    with pytest.raises(AssertionError, match=r"error: 0\.6, expected at most 0\.5"):
        check("error", 0.6, at_least=0, at_most=0.5)


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


@pytest.mark.parametrize(
    "name", ["", "..", "/tmp/x", "a/b", "a\0b", "earlier", "executed", "results.json", "costs.json", None, 3]
)
def test_a_name_that_is_no_folder_of_its_own_is_refused(name):
    with pytest.raises(ValueError, match="the notebook must be a name such as '03_train_hnn', got"):
        start_run(name, scale="quick", seed=0)


@pytest.mark.parametrize("name", ["../figure", "..", ".", "", "a/b", "/tmp/figure", "a/", None])
def test_a_figure_stays_in_the_folder_of_the_figures(artifacts, name):
    run = make()
    before = sorted(artifacts.rglob("*"))
    with pytest.raises(
        ValueError, match="a figure must have a name without a folder, such as 'figure_3', got"
    ):
        run.save_figure(plt.figure(), name)
    assert sorted(artifacts.rglob("*")) == before


@pytest.mark.parametrize("seed", [True, False, np.array([3]), np.bool_(True)])
def test_what_is_no_whole_number_is_no_seed(seed):
    with pytest.raises(ValueError, match="SEED must be a whole number"):
        start_run(MADE, scale="quick", seed=seed)


def test_numpys_and_torchs_numbers_are_saved_as_pythons_are():
    odd = {"n": np.int64(3), "dt": torch.tensor(0.5), "sizes": np.arange(2), "exact": np.bool_(True)}
    plain = {"n": 3, "dt": 0.5, "sizes": [0, 1], "exact": True}
    run = make(settings=plain)
    run.begin(odd)
    assert (run.folder / "parts" / "a.bin").exists()  # the same settings
    run.save_results(odd)
    assert run.results_of(MADE) == plain


def test_settings_that_cannot_be_saved_leave_the_earlier_folder_where_it_is():
    run = make()
    for settings, error, words in (
        ({"lr": math.nan}, ValueError, "nothing was saved"),
        ({"lr": {1}}, TypeError, r"\{1\} \(set\) cannot be saved as JSON: make it"),
        ([1, 2], TypeError, r"settings must be a dict, got \[1, 2\]"),
    ):
        with pytest.raises(error, match=words):
            start_run(MADE, scale="quick", seed=0).begin(settings)
    with pytest.raises(TypeError, match=f"got '{MADE}': write \\['{MADE}'\\]"):
        start_run(USED, scale="quick", seed=0).begin({}, inputs=MADE)
    assert start_run(USED, scale="quick", seed=0).verified_input(MADE) == run.folder


def test_the_order_of_begin_save_and_finish():
    run = start_run(MADE, scale="quick", seed=0)
    with pytest.raises(ArtifactError, match=f"{MADE} has not begun: call begin"):
        run.finish()
    run.save_results({"n": 1})
    run.begin({})
    run.finish()
    assert run.verified_input(MADE) == run.folder


def test_nothing_in_earlier_is_written_over():
    run = make(settings={"n_videos": 3})
    shutil.copytree(run.folder, run._earlier(run.fingerprint))
    with pytest.raises(ArtifactError, match="exists already: move it or"):
        run.begin({"n_videos": 4})


def test_results_that_are_a_folder_are_refused_and_a_bom_is_read():
    run = make()
    path = run.scale_folder / "results.json"
    path.write_text('\ufeff{"results": {"other": 1}}', encoding="utf-8")
    assert run.results_of("other") == 1
    path.unlink()
    path.mkdir()
    with pytest.raises(ArtifactError, match=r"results\.json is damaged"):
        run.save_results({})


@pytest.mark.parametrize("value", ["~nobody-of-this-name/x", "{}/loop/x"])
def test_an_artifacts_folder_that_cannot_be_found_is_named(monkeypatch, tmp_path, value):
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.setenv("HJEPA_ARTIFACTS", value.format(tmp_path))
    with pytest.raises(ValueError, match=r"HJEPA_ARTIFACTS is .*, no folder .*: set it to another"):
        start_run(MADE, scale="quick", seed=0)
