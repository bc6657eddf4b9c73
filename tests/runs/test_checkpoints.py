"""The one loop of all trainings: what it saves, and that it ends with the same bits when it was killed."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from helpers import ROOT, no_file_above
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from hjepa_utils import ArtifactError, BaselineMLP, fit
from hjepa_utils.runs.checkpoints import is_state, resumable, state_file

N_STEPS = 7


class Killed(Exception):
    """Stands for an interruption."""


def adversaries(file, *, n_steps=N_STEPS, killed_in=None, every=2, seed=0, **options):
    """Two networks, two optimisers, a generator and a running mean, as an adversarial training has them.

    Returns all that it ends with.
    """
    torch.manual_seed(seed)
    makers = {
        "generator": nn.Linear(3, 2),
        "judge": nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)),
    }
    optimisers = {
        "generator": torch.optim.SGD(makers["generator"].parameters(), lr=0.1, momentum=0.9),
        "judge": torch.optim.AdamW(makers["judge"].parameters(), lr=0.01, betas=(0.5, 0.9)),
    }
    draws, mean, history = torch.Generator().manual_seed(5), torch.zeros(2), []
    for step in resumable(
        file, n_steps, fingerprint={"seed": seed}, history=history, modules=makers, optimisers=optimisers,
        generators={"draws": draws}, tensors={"mean": mean}, every=every, **options,
    ):  # fmt: skip
        made = makers["generator"](torch.randn(8, 3, generator=draws))
        judged = makers["judge"](made).mean()
        for name, sign in (("generator", 1), ("judge", -1)):
            optimisers[name].zero_grad()
            (sign * judged).backward(retain_graph=True)
        if step == killed_in:
            raise Killed
        for optimiser in optimisers.values():
            optimiser.step()
        optimisers["generator"].param_groups[0]["lr"] *= 0.9
        mean += 0.1 * (made.detach().mean(dim=0) - mean)
        history.append({"judged": judged.item()})
    state = {
        f"{name}.{key}": value for name, part in makers.items() for key, value in part.state_dict().items()
    }
    moments = [
        value for of in optimisers.values() for one in of.state.values() for _, value in sorted(one.items())
    ]
    rates = [of.param_groups[0]["lr"] for of in optimisers.values()]
    return history, [*state.values(), *moments, mean, draws.get_state()], rates


def same(first, second):
    pairs = zip(first[1], second[1], strict=True)
    return first[0] == second[0] and first[2] == second[2] and all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("killed_in", range(N_STEPS))
def test_all_parts_go_on_to_the_same_bits(tmp_path, killed_in):
    expected, file = adversaries(None), tmp_path / "run" / "training.safetensors"
    with pytest.raises(Killed):
        adversaries(file, killed_in=killed_in)
    assert same(adversaries(file), expected)
    assert same(adversaries(file, killed_in=0), expected)  # finished: nothing is done again


KILLED = """
import os, signal, sys
from hjepa_utils.runs import checkpoints
save = checkpoints.save_file
def dying(tensors, path, metadata):
    save(tensors, path, metadata=metadata)
    if '"done": %d,' in metadata["training"]:
        os.kill(os.getpid(), signal.SIGKILL)  # the state is whole, but not yet in its place
checkpoints.save_file = dying
sys.path.insert(0, "tests/runs")
from test_checkpoints import adversaries
adversaries(sys.argv[1], every=1)
"""


@pytest.mark.parametrize("done", [1, 4])
def test_a_process_killed_while_it_saves_leaves_a_whole_state(tmp_path, done):
    file = tmp_path / "training.safetensors"
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    killed = subprocess.run([sys.executable, "-c", KILLED % done, file], cwd=ROOT, env=environment)
    assert killed.returncode == -signal.SIGKILL
    states = [path for path in tmp_path.iterdir() if is_state(path)]
    assert len(states) == (0 if done == 1 else 1)
    for state in states:
        with safe_open(state, "pt") as opened:
            assert json.loads(opened.metadata()["training"])["done"] == done - 1
    assert same(adversaries(file, every=1), adversaries(None))


def test_another_fingerprint_begins_anew_beside_and_says_so_in_one_line(tmp_path, capsys):
    file = tmp_path / "training.safetensors"
    first = adversaries(file)
    assert capsys.readouterr().out == ""
    before = state_file(file, {"seed": 0}).read_bytes()
    assert same(adversaries(file, seed=1, label="judge and maker"), adversaries(None, seed=1))
    kept = state_file(file, {"seed": 0})
    assert capsys.readouterr().out == (
        "judge and maker begins anew: its earlier training was made with other settings (seed 0, now 1) "
        f"and is kept in {kept.name}\n"
    )
    assert kept.read_bytes() == before
    assert same(adversaries(file, killed_in=0), first)  # back to the former settings: found again
    assert capsys.readouterr().out == ""


def test_a_damaged_state_of_another_training_is_kept(tmp_path, capsys):
    other = tmp_path / "training-00000000.state.safetensors"
    other.write_bytes(b"no state")
    assert same(adversaries(tmp_path / "training.safetensors"), adversaries(None))
    assert f"does not say what it was made from and is kept in {other.name}" in capsys.readouterr().out
    assert other.read_bytes() == b"no state"


def test_what_suits_the_device_is_not_restored(tmp_path):
    """A training that began on a CPU goes on fused and capturable on a GPU, with the rate that it had."""
    for on_gpu, lr in ((False, 0.5), (True, 0.1)):
        model = nn.Linear(3, 2)
        device = {"fused": on_gpu, "capturable": on_gpu}
        optimiser, history = torch.optim.AdamW(model.parameters(), lr=lr, **device), []
        parts = {"modules": {"model": model}, "optimisers": {"AdamW": optimiser}}
        for _ in resumable(tmp_path / "training", 1, fingerprint={}, history=history, **parts):
            model(torch.ones(3)).sum().backward()
            optimiser.step()
            history.append(lr)
    (group,) = optimiser.param_groups
    assert history == [0.5] and group["lr"] == 0.5
    assert group["fused"] is True and group["capturable"] is True


@pytest.mark.parametrize("left", [0, 7, 100, -1])
def test_a_truncated_state_is_one_sentence_with_its_path(tmp_path, left):
    file = tmp_path / "training.safetensors"
    adversaries(file)
    path = state_file(file, {"seed": 0})
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(
        ArtifactError, match=r"training-[0-9a-f]{8}\.state\.safetensors is damaged: delete it"
    ) as refused:
        adversaries(file)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("words", ["{", "[]", "{}", "[" * 100_000])
def test_a_state_with_damaged_words_is_one_sentence(tmp_path, words):
    from safetensors.torch import save_file

    path = state_file(tmp_path / "training.safetensors", {"seed": 0})
    save_file({"a": torch.zeros(1)}, path, metadata={"training": words})
    with pytest.raises(ArtifactError, match=r"is damaged: delete it, and the training begins anew"):
        adversaries(tmp_path / "training.safetensors")


def test_a_full_disk_keeps_the_last_state(tmp_path):
    file = tmp_path / "training.safetensors"
    with pytest.raises(Killed):
        adversaries(file, killed_in=4)
    with no_file_above(500), pytest.raises(OSError, match=r"cannot write to .*: free some space, or set"):
        adversaries(file)
    assert [path.name for path in tmp_path.iterdir()] == [state_file(file, {"seed": 0}).name]
    assert same(adversaries(file), adversaries(None))


def test_shared_and_strided_weights_can_be_saved(tmp_path):
    def tied():
        first, second = nn.Linear(3, 3), nn.Linear(3, 3)
        second.weight = first.weight
        first.weight.data = torch.arange(9.0).view(3, 3).T
        return nn.Sequential(first, second)

    file, history = tmp_path / "training.safetensors", []
    for _ in resumable(file, 1, fingerprint={}, history=history, modules={"model": tied()}):
        history.append(1)
    assert list(resumable(file, 1, fingerprint={}, history=[], modules={"model": tied()})) == []


@pytest.mark.parametrize("fused", [False, True])
def test_strided_weights_go_on_to_the_same_bits(tmp_path, fused):
    """A file keeps no memory order, and a fused step reads weights and moments side by side."""

    def train(file, n_steps):
        torch.manual_seed(0)
        layer = nn.Conv2d(3, 5, 2).to(memory_format=torch.channels_last)
        optimiser, history = torch.optim.Adam(layer.parameters(), 0.1, fused=fused), []
        parts = {"modules": {"layer": layer}, "optimisers": {"Adam": optimiser}}
        for step in resumable(file, n_steps, fingerprint={}, history=history, **parts):
            pictures = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(step))
            optimiser.zero_grad()
            layer(pictures).square().sum().backward()
            optimiser.step()
            history.append({})
        return layer.weight.detach()

    whole = train(None, 4)
    train(tmp_path / "state", 2)
    assert torch.equal(train(tmp_path / "state", 4), whole)


def test_a_fingerprint_may_hold_tuples(tmp_path):
    file, made_from = tmp_path / "training.safetensors", {"betas": (0.5, 0.9)}
    for expected in ([0, 1], []):
        steps = resumable(file, 2, fingerprint=made_from, history=[], modules={"model": nn.Linear(1, 1)})
        assert list(steps) == expected


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    adversaries("~/c/training.safetensors")
    assert [path.name for path in (tmp_path / "c").iterdir()] == [state_file("training", {"seed": 0}).name]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ({"done": -3}, "is damaged: delete it"),
        ({"done": "4"}, "is damaged: delete it"),
        ({"history": {}}, "is damaged: delete it"),
        ({"groups": {}}, "does not fit what is trained: delete it"),
        ({"done": 99}, "is after step 99 of 1: move it away"),
    ],
)
def test_a_state_with_other_words_is_refused(tmp_path, words, wanted):
    windows = torch.randn(8, 3, 4)

    def train():
        torch.manual_seed(0)
        fit(BaselineMLP(4, (4,)), windows, windows, seed=0, n_epochs=1, checkpoint=tmp_path)

    train()
    (state,) = tmp_path.iterdir()
    with safe_open(state, "pt") as opened:
        before = json.loads(opened.metadata()["training"])
    save_file(load_file(state), state, metadata={"training": json.dumps(before | words)})
    with pytest.raises(ArtifactError, match=f"{state.name} {wanted}"):
        train()


def test_folders_and_dead_links_under_a_states_name_are_no_states(tmp_path, capsys):
    windows = torch.randn(8, 3, 4)

    def train():
        torch.manual_seed(0)
        return fit(BaselineMLP(4, (4,)), windows, windows, seed=0, n_epochs=1, checkpoint=tmp_path)

    (tmp_path / "training-deadbeef.state.safetensors").mkdir()
    (tmp_path / "training-deadbee1.state.safetensors").symlink_to("nowhere")
    history = train()
    (state,) = (file for file in tmp_path.iterdir() if file.is_file())
    renamed = state.rename(tmp_path / "training-00000000.state.safetensors")
    assert train() == history
    assert f"is the same, goes on if it is renamed {state.name}" in capsys.readouterr().out
    renamed.unlink()
    state.unlink()
    state.mkdir()
    with pytest.raises(ArtifactError, match=f"{state.name} cannot be read .*: move it away"):
        train()
