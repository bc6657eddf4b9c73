"""One run of measurements keeps what it has, and what it compares computes the same."""

import copy
import json
import os

import pytest
import torch
from torch import nn

from hjepa_utils import BaselineMLP, HamiltonianDynamics, fit, load_encoder, stack
from hjepa_utils.__main__ import main
from hjepa_utils.project.benchmarks import benchmark_page
from hjepa_utils.runs.cuda_graphs import graphed
from hjepa_utils.systems.hjepa import benchmark, jax_peer, measure
from hjepa_utils.systems.hjepa.measure_encoder import PatchProduct, encoders, with_patch_product
from hjepa_utils.systems.hjepa.measure_record import Record, as_json, difference
from hjepa_utils.systems.hjepa.measure_training import MLP, OURS, compiled, ten_seeds, updates

CPU = torch.device("cpu")


@pytest.fixture
def record(tmp_path):
    return Record(tmp_path / "measured.json", measure.QUICK | {"rounds": 6}, CPU, limit=600)


@pytest.fixture
def without_jax(monkeypatch):
    monkeypatch.setattr(jax_peer, "usable", lambda device: False)


def saved(record):
    return json.loads(record.file.read_text())


def fails(record, into):
    into["before"] = 1
    raise ValueError("one\ntwo")


def test_a_fault_in_one_section_stops_no_other_and_the_file_is_whole_after_each(tmp_path, monkeypatch):
    file, seen = tmp_path / "measured.json", []

    def good(record, into):
        seen.append(json.loads(file.read_text()))
        into["value"] = torch.ones(2)

    monkeypatch.setattr(measure, "SECTIONS", {"first": good, "bad": fails, "last": good})
    assert main(["benchmark", "--out", str(file), "--quick"]) == 0
    content = json.loads(file.read_text())
    assert content["errors"] == ["bad: ValueError: one"]
    assert content["bad"]["before"] == 1
    assert content["first"]["value"] == content["last"]["value"] == [1.0, 1.0]
    assert torch.__version__.startswith(content["header"]["torch"])
    assert list(seen[0]) == ["errors", "header", "settings"]
    assert list(seen[1]) == ["errors", "header", "settings", "first", "bad"]


def test_some_parts_can_be_measured_alone_and_are_shown(tmp_path, monkeypatch):
    file = tmp_path / "benchmark_some.json"
    monkeypatch.setattr(benchmark, "compiled_rollout", lambda *_: None)  # it takes half a minute
    assert main(["benchmark", "--out", str(file), "--quick", "--only", "ms_per_step", "update"]) == 0
    content = json.loads(file.read_text())
    assert {"ms_per_step", "update"} <= set(content) and not {"encoder", "ten_seeds"} & set(content)
    page = benchmark_page(tmp_path)
    assert page.startswith(f"### {content['header']['device']}\n")
    assert "ms per step" in page and "ms per update" in page and "clips per second" not in page
    with pytest.raises(SystemExit, match="2"):
        main(["benchmark", "--out", str(file), "--only", "encoders"])


def test_a_file_that_cannot_be_written_gets_one_sentence(tmp_path, capsys):
    assert main(["benchmark", "--out", str(tmp_path / "no folder" / "measured.json"), "--quick"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "cannot write to" in said and "no folder" in said


@pytest.mark.parametrize("limit", ["0", "-5", "nan"])
def test_a_limit_without_time_is_refused(tmp_path, capsys, limit):
    with pytest.raises(SystemExit, match="2"):
        main(["benchmark", "--out", str(tmp_path / "a.json"), f"--limit={limit}"])
    assert "--limit: takes a number of seconds above 0, got" in capsys.readouterr().err


def test_what_is_no_file_is_not_written_over(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")  # a device would be replaced as well
    for out in (tmp_path / "pipe", tmp_path, ""):
        with pytest.raises(SystemExit, match="2"):
            main(["benchmark", "--out", str(out), "--quick"])
        assert "--out: takes a file, got" in capsys.readouterr().err
    assert not (tmp_path / "pipe").is_file()
    with pytest.raises(SystemExit, match="2"):
        main(["benchmark", "--out", "~no-such-user/a.json", "--quick"])
    assert "'~no-such-user/a.json' names no home folder" in capsys.readouterr().err


def test_ctrl_c_says_where_the_measurements_are(tmp_path, monkeypatch, capsys):
    def interrupted(record, into):
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "SECTIONS", {"first": lambda r, into: into.update(x=1), "k": interrupted})
    assert main(["benchmark", "--out", str(tmp_path / "a.json"), "--quick"]) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"interrupted: what was measured until then is in {tmp_path / 'a.json'}"
    assert json.loads((tmp_path / "a.json").read_text())["first"]["x"] == 1


def test_what_there_is_no_time_for_is_named(record):
    assert record.attempt("long", lambda: 1, needs=1e9) is None
    assert "long: left out" in record.content["errors"][0]


def test_a_contestant_that_fails_is_left_out(record):
    calls = {"good": lambda: print("a notice"), "bad": lambda: fails(None, {})}
    taken = record.timed("table", calls)
    assert list(taken) == ["good"] and len(taken["good"]) == 6
    assert record.content["errors"] == ["table, good: a notice", "table, bad: ValueError: one"]


def test_values_become_json():
    value = {1: (float("nan"), torch.tensor(2.0)), "x": None}
    assert as_json(value) == {"1": ["nan", 2.0], "x": None}


def test_training_is_measured_and_learns(record, without_jax):
    record.settings["batches"] = [2]
    record.section("update", updates)
    record.section("ten_seeds", ten_seeds)
    losses = saved(record)["update"]["batch 2"]["first two losses"]
    assert losses[OURS][1] < losses[OURS][0]
    assert losses["HNN, autograd"] == pytest.approx(losses[OURS], rel=1e-5)
    assert set(saved(record)["ten_seeds"][MLP]["times"]) == {"one", "3 stacked", "3 in turn"}
    assert saved(record)["errors"] == []


def test_rates_share_and_differences_of_the_encoders(record, monkeypatch):
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: None)  # takes long on a CPU
    record.section("encoder", encoders)
    assert saved(record)["errors"] == []
    row = saved(record)["encoder"]["embedded, float32"]["batch 2"]
    assert all(way["median"] > 0 and way["share"] > 0 for name, way in row.items() if name != "rounds")
    assert 0 < row["product"]["difference from plain"] < 1e-5


@pytest.mark.parametrize("patch", [(2, 16, 16), (1, 2, 3)])
def test_a_product_of_patches_is_the_convolution(patch):
    convolution = nn.Conv3d(3, 10, patch, stride=patch).double()
    videos = torch.randn(2, 3, 4, 32, 36, dtype=torch.float64)[..., : 36 // patch[2] * patch[2]]
    expected = convolution(videos)
    torch.testing.assert_close(PatchProduct(convolution)(videos), expected, rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="must not overlap"):
        PatchProduct(nn.Conv3d(3, 10, patch, stride=1))


def test_the_embedded_encoder_gives_the_same_latents_by_products():
    encoder = load_encoder()
    shape = (2, 16, 3, encoder.image_size, encoder.image_size)
    clips = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    faster = with_patch_product(encoder)
    assert isinstance(faster.model.encoder.embeddings.patch_embeddings.proj, PatchProduct)
    assert isinstance(encoder.model.encoder.embeddings.patch_embeddings.proj, nn.Conv3d)
    torch.testing.assert_close(faster.embed(clips), encoder.embed(clips), rtol=1e-4, atol=1e-5)


def test_an_update_is_that_of_fit():
    torch.manual_seed(0)
    one, windows = HamiltonianDynamics(benchmark.HNN(8, (6, 4))), torch.randn(3, 4, 8)
    two = copy.deepcopy(one)
    fit(one, windows, windows, n_epochs=1, seed=0, energy_schedule=lambda epoch, n: 0.5)
    losses = benchmark.update_call(two, windows)()
    assert losses.shape == (3,)
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


def test_what_is_compiled_for_training_has_the_same_derivatives(monkeypatch):
    monkeypatch.setattr("torch.compile", lambda function, **options: function)  # takes long
    model = HamiltonianDynamics(benchmark.HNN(8, (6, 4)))
    other, windows = compiled(model), torch.randn(3, 4, 8)
    for each in (model, other):
        benchmark.rollout_loss(each, windows, 0.5).total.backward()
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-6)


def test_there_are_no_graphs_without_a_gpu():
    with pytest.raises(RuntimeError, match="needs tensors on a GPU, got one on cpu"):
        graphed(lambda z: z, torch.zeros(2))


def test_the_windows_of_a_stack_are_given_to_each():
    windows = torch.randn(5, 4, 8)
    stacked = stack([BaselineMLP(8, (4,)) for _ in range(2)])
    assert benchmark.windows_for(stacked, windows).shape == (2, 5, 4, 8)
    assert benchmark.update_call(stacked, windows)().shape == (3, 2)


@pytest.mark.parametrize("name", [OURS, MLP])
def test_the_peer_in_jax_goes_through_the_same_states_and_losses(name, monkeypatch):
    pytest.importorskip("jax")
    pytest.importorskip("optax")
    monkeypatch.setattr(benchmark, "compiled_rollout", lambda *args: None)  # takes long
    models = benchmark.contestants(16, "cpu")
    model, peer = models[name], models[{OURS: "HNN, JAX", MLP: "MLP, JAX"}[name]]
    windows = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert difference(peer.rollout(windows[:, 0], 4), model.rollout(windows[:, 0], 4)) < 1e-5
    theirs, ours = jax_peer.update_call(model, windows), benchmark.update_call(model, windows)
    theirs = [float(theirs()[0]) for _ in range(3)]
    assert theirs == pytest.approx([float(ours()[0]) for _ in range(3)], rel=1e-4)
