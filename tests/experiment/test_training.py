"""The paper's losses, curriculum and loop against independent ones written out here."""

import copy
import json
import math
import re
import signal
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import ROOT, oscillators
from safetensors import safe_open
from torch import nn

from hjepa_utils import (
    HNN,
    BaselineMLP,
    HamiltonianDynamics,
    Persistence,
    SeparableHNN,
    energy_weight,
    fit,
    rollout_loss,
    seeded,
)
from hjepa_utils.experiment.training import cosine_lr, fit_seeds
from hjepa_utils.runs import checkpoints


class Killed(Exception):
    """Stands for an interruption."""


class Turning(nn.Module):
    """ẑ turns by a fixed angle a step, and has an energy that it does not keep: q + p²."""

    def rollout(self, z0, n_steps):
        q, p = z0.chunk(2, dim=-1)
        angles = [0.3 * t for t in range(n_steps + 1)]
        return torch.stack(
            [
                torch.cat([q * math.cos(a) + p * math.sin(a), p * math.cos(a) - q * math.sin(a)], -1)
                for a in angles
            ],
            dim=-2,
        )

    def rollout_with_energy(self, z0, n_steps):
        states = self.rollout(z0, n_steps)
        q, p = states.chunk(2, dim=-1)
        return states, (q + p**2).sum(-1)


def network(dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    return HamiltonianDynamics(HNN(4, (24, 16))).to(dtype)


def bits(dynamics):
    return {name: tensor.clone() for name, tensor in dynamics.state_dict().items()}


def same_bits(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_losses_are_those_of_a_plain_loop():
    windows = torch.randn(3, 5, 4, dtype=torch.float64, generator=torch.manual_seed(0))
    losses = rollout_loss(Turning(), windows, 0.4)
    prediction, energy = [], []
    for window in windows.numpy():
        q, p = window[0, :2], window[0, 2:]
        for t in range(1, 5):
            a = 0.3 * t
            q_t, p_t = q * np.cos(a) + p * np.sin(a), p * np.cos(a) - q * np.sin(a)
            prediction += list((np.concatenate([q_t, p_t]) - window[t]) ** 2)
            energy.append(abs((q_t + p_t**2).sum() - (q + p**2).sum()))
    assert losses.prediction.item() == pytest.approx(np.mean(prediction), rel=1e-12)
    assert losses.energy.item() == pytest.approx(np.sum(energy) / (3 * 5), rel=1e-12)  # t = 0 counts in eq. 7
    assert losses.total.item() == pytest.approx(
        losses.prediction.item() + 0.4 * losses.energy.item(), rel=1e-12
    )


def test_all_losses_are_on_the_device_of_the_windows():
    """On a GPU they are stacked, and one on the CPU among them stops the training."""
    windows = torch.zeros(3, 4, 8, device="meta")
    for model in (Persistence(), HamiltonianDynamics(HNN(8, (8, 8))).to("meta")):
        losses = rollout_loss(model, windows, 0.5)
        assert {loss.device.type for loss in losses} == {"meta"}


def test_a_model_without_energy_has_no_energy_loss():
    windows = oscillators(4)
    losses = rollout_loss(Persistence(), windows, 0.7)
    expected = ((windows[:, 1:] - windows[:, :1]) ** 2).mean().item()
    assert losses.energy.item() == 0
    assert losses.total.item() == losses.prediction.item() == pytest.approx(expected, rel=1e-6)


def test_lambda_grows_linearly_from_a_tenth_to_one():
    weights = [energy_weight(epoch, 50) for epoch in range(1, 51)]
    np.testing.assert_allclose(weights, np.linspace(0.1, 1.0, 50), rtol=1e-12)
    assert energy_weight(1, 1) == 0.1


@pytest.mark.parametrize("n_epochs", [1, 7, 50])
def test_the_learning_rate_is_that_of_cosine_annealing(n_epochs):
    optimiser = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=n_epochs, eta_min=1e-5)
    for epoch in range(1, n_epochs + 1):
        assert cosine_lr(epoch, n_epochs) == pytest.approx(schedule.get_last_lr()[0], rel=1e-9)
        optimiser.step()
        schedule.step()


def test_fit_learns_oscillators_better_than_persistence_and_a_line():
    train, test = oscillators(192), oscillators(48, seed=1)
    history = fit(network(), train, test, n_epochs=25, seed=0, lr=1e-2, batch_size=16)
    floor = rollout_loss(Persistence(), test, 0).prediction.item()
    line = test[:, :1] + torch.arange(8)[:, None] * (test[:, 1:2] - test[:, :1])
    assert history[-1]["test_mse"] < 0.1 * floor
    assert history[-1]["test_mse"] < (line - test).square().mean().item()
    assert history[-1]["prediction"] < history[0]["prediction"]


def test_the_history_says_what_ran():
    train, test, dynamics = oscillators(40), oscillators(8, seed=1), network()
    history = fit(dynamics, train, test, n_epochs=3, seed=0, lr=2e-3, min_lr=1e-4)
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert [row["lr"] for row in history] == [cosine_lr(epoch, 3, 2e-3, 1e-4) for epoch in (1, 2, 3)]
    assert [row["energy_weight"] for row in history] == pytest.approx([0.1, 0.55, 1.0])
    assert history[-1]["dt"] == dynamics.dt.item()
    error = rollout_loss(dynamics, test, 0).prediction.item()
    assert history[-1]["test_mse"] == pytest.approx(error, rel=1e-5)
    for row in history:
        assert row["loss"] == pytest.approx(
            row["prediction"] + row["energy_weight"] * row["energy"], rel=1e-4
        )
    history = fit(BaselineMLP(4, (8,)), train, test, n_epochs=1, seed=0)
    assert "dt" not in history[0] and history[0]["energy"] == 0


def test_the_same_seed_gives_the_same_bits_whatever_the_global_generator():
    train, test = oscillators(40), oscillators(8, seed=1)
    runs = {}
    for name, seed in (("first", 5), ("again", 5), ("other", 6)):
        dynamics = network()
        torch.manual_seed(len(runs))
        history = fit(dynamics, train, test, n_epochs=2, seed=seed, batch_size=8)
        runs[name] = bits(dynamics), history
    assert same_bits(runs["first"][0], runs["again"][0]) and runs["first"][1] == runs["again"][1]
    assert not same_bits(runs["first"][0], runs["other"][0])


@pytest.mark.parametrize("make", [network, lambda: BaselineMLP(4, (8,))])
@pytest.mark.parametrize("done", [0, 1, 3])
def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path, monkeypatch, make, done):
    train, test, options = (
        oscillators(40),
        oscillators(8, seed=1),
        {"n_epochs": 4, "seed": 2, "batch_size": 8},
    )
    torch.manual_seed(0)
    undisturbed = make()
    interrupted, resumed = copy.deepcopy(undisturbed), copy.deepcopy(undisturbed)
    expected = fit(undisturbed, train, test, **options)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        die_after(done, patch)
        fit(interrupted, train, test, **options, checkpoint=tmp_path / "run")
    history = fit(resumed, train, test, **options, checkpoint=tmp_path / "run")
    assert history == expected and same_bits(bits(resumed), bits(undisturbed))


def die_after(done, monkeypatch):
    """Kill a training in epoch `done` + 1, before that is saved."""
    save = checkpoints._save

    def dying(path, epoch, *rest):
        if epoch > done:
            raise Killed
        save(path, epoch, *rest)

    monkeypatch.setattr(checkpoints, "_save", dying)


def test_a_finished_training_is_only_read(tmp_path, capsys):
    train, test = oscillators(40), oscillators(8, seed=1)
    finished, again = network(), network()
    history = fit(finished, train, test, n_epochs=2, seed=0, checkpoint=tmp_path)
    (state,) = tmp_path.iterdir()
    before = state.stat().st_mtime_ns
    assert fit(again, train, test, n_epochs=2, seed=np.int64(0), checkpoint=tmp_path) == history
    assert same_bits(bits(again), bits(finished))
    assert list(tmp_path.iterdir()) == [state] and state.stat().st_mtime_ns == before
    assert capsys.readouterr().out == ""


def without_energy(epoch, n_epochs):
    return 0.0


USUAL = {"n_epochs": 2, "seed": 0, "batch_size": 8}
OTHERS = {
    "n_epochs 2, now 3; energy_schedule": {"n_epochs": 3},
    "batch_size 8, now 16": {"batch_size": 16},
    "lr 0.001, now 0.01": {"lr": 0.01},
    "min_lr 1e-05, now 0.0001": {"min_lr": 1e-4},
    "weight_decay 1e-05, now 0.1": {"weight_decay": 0.1},
    "max_norm 1.0, now 0.001": {"max_norm": 0.001},
    "seed 0, now 1": {"seed": 1},
    "energy_schedule": {"energy_schedule": without_energy},
}


@pytest.mark.parametrize("words", OTHERS)
def test_a_training_with_other_arguments_begins_anew_and_says_which(tmp_path, capsys, words):
    train, test, other = oscillators(40), oscillators(8, seed=1), USUAL | OTHERS[words]
    fit(network(), train, test, **USUAL, checkpoint=tmp_path)
    (kept,) = tmp_path.iterdir()
    before, fresh, begun = kept.read_bytes(), network(), network()
    expected = fit(fresh, train, test, **other)
    capsys.readouterr()
    assert fit(begun, train, test, **other, checkpoint=tmp_path, label="HNN") == expected
    assert same_bits(bits(begun), bits(fresh)) and kept.read_bytes() == before
    assert capsys.readouterr().out == (
        f"HNN begins anew: its earlier training was made with other settings ({words}) "
        f"and is kept in {kept.name}\n"
    )


def edited(windows):
    windows = windows.clone()
    windows[-1, -1, -1] += 1e-6
    return windows


@pytest.mark.parametrize(
    "words",
    ["the training windows", "the test windows", "the initial weights", "the model or its code"],
)
def test_a_training_of_another_model_or_other_windows_begins_anew(tmp_path, capsys, monkeypatch, words):
    train, test = oscillators(40), oscillators(8, seed=1)
    fit(network(), train, test, **USUAL, checkpoint=tmp_path)
    models = [network(seed=words == "the initial weights") for _ in range(2)]
    if words == "the model or its code":  # an edit of the package, or of a cell of a notebook
        monkeypatch.setattr("hjepa_utils.dynamics.predictors.DT_RANGE", (0.999999, 2.0))
    train, test = edited(train) if "training" in words else train, edited(test) if "test" in words else test
    expected = fit(models[0], train, test, **USUAL)
    assert fit(models[1], train, test, **USUAL, checkpoint=tmp_path) == expected
    assert same_bits(bits(models[1]), bits(models[0]))
    out = capsys.readouterr().out
    assert f"made with other settings ({words})" in out and out.count("\n") == 1


def test_freezing_a_part_begins_anew(tmp_path, capsys):
    train, test = oscillators(40), oscillators(8, seed=1)
    fit(network(), train, test, **USUAL, checkpoint=tmp_path)
    alone, begun = network(), network()
    for model in (alone, begun):
        model.dt.requires_grad_(False)
    expected = fit(alone, train, test, **USUAL)
    assert fit(begun, train, test, **USUAL, checkpoint=tmp_path) == expected
    assert torch.equal(begun.dt, network().dt) and same_bits(bits(begun), bits(alone))
    assert "made with other settings (what is trained)" in capsys.readouterr().out


def test_without_a_checkpoint_nothing_is_hashed(monkeypatch):
    def refuse(*_):
        raise AssertionError("hashed for nothing")

    for name in ("hash_code", "hash_tensors"):
        monkeypatch.setattr(f"hjepa_utils.experiment.training.{name}", refuse)
    assert len(fit(network(), oscillators(40), oscillators(8), **USUAL)) == 2


def test_a_wider_model_begins_anew(tmp_path, capsys):
    train, test = oscillators(40), oscillators(8, seed=1)
    fit(BaselineMLP(4, (8,)), train, test, **USUAL, checkpoint=tmp_path)
    wider = BaselineMLP(4, (9,))
    fit(wider, train, test, **USUAL, checkpoint=tmp_path)
    assert "(the model or its code; the initial weights)" in capsys.readouterr().out


def test_going_back_to_former_arguments_finds_their_training(tmp_path):
    train, test = oscillators(40), oscillators(8, seed=1)
    first, again = network(), network()
    history = fit(first, train, test, **USUAL, checkpoint=tmp_path)
    fit(network(), train, test, **USUAL | {"lr": 0.1}, checkpoint=tmp_path)
    states = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert fit(again, train, test, **USUAL, checkpoint=tmp_path) == history
    assert same_bits(bits(again), bits(first))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == states and len(states) == 2


def test_a_schedule_counts_by_its_numbers(tmp_path, capsys):
    train, test = oscillators(40), oscillators(8, seed=1)
    history = fit(network(), train, test, **USUAL, checkpoint=tmp_path)
    same = {"energy_schedule": lambda epoch, n_epochs: (0.1, 1.0)[epoch - 1]}
    assert fit(network(), train, test, **USUAL, **same, checkpoint=tmp_path) == history
    assert capsys.readouterr().out == ""


KILLED = """
import os, signal, sys, torch
sys.path[:0] = ["tests"]
from helpers import oscillators
from hjepa_utils import HNN, HamiltonianDynamics, fit
from hjepa_utils.runs import checkpoints
save = checkpoints._save
def dying(path, epoch, *rest):
    save(path, epoch, *rest)
    if epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)
checkpoints._save = dying
torch.manual_seed(0)
model = HamiltonianDynamics(HNN(4, (24, 16)))
fit(model, oscillators(40), oscillators(8, seed=1), n_epochs=4, seed=0, checkpoint=sys.argv[1])
"""


def test_a_killed_process_is_gone_on_with_by_another(tmp_path, capsys):
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    windows, alone, resumed = (oscillators(40), oscillators(8, seed=1)), network(), network()
    expected = fit(alone, *windows, n_epochs=4, seed=0)
    assert fit(resumed, *windows, n_epochs=4, seed=0, checkpoint=tmp_path) == expected
    assert same_bits(bits(resumed), bits(alone))
    assert len(list(tmp_path.iterdir())) == 1 and capsys.readouterr().out == ""


def test_a_loss_that_is_not_finite_stops_in_its_epoch_and_keeps_the_state_before(tmp_path):
    train, test, model = oscillators(40), oscillators(8, seed=1), BaselineMLP(4, (8,))
    bad = {"n_epochs": 5, "seed": 0, "lr": 1e-3, "checkpoint": tmp_path}
    words = (
        r"MLP: loss is not finite in epoch 1 \(lr 0.001, windows up to .*e\+20 in size\): lower lr, or stand"
    )
    with pytest.raises(ValueError, match=words):
        fit(model, 1e20 * train, 1e20 * test, **bad, label="MLP")
    assert list(tmp_path.iterdir()) == []

    class Breaking(BaselineMLP):
        def rollout(self, z0, n_steps):
            batches.append(torch.is_grad_enabled())
            return super().rollout(z0, n_steps) * (math.inf if sum(batches) == 3 else 1.0)

    batches = []
    with pytest.raises(ValueError, match=r"is not finite in epoch 3 \(lr") as refused:
        fit(Breaking(4, (8,)), train, test, n_epochs=9, seed=0, checkpoint=tmp_path)
    (state,) = tmp_path.iterdir()
    epoch = int(re.search(r"epoch (\d)", str(refused.value))[1])
    with safe_open(state, "pt") as opened:
        assert json.loads(opened.metadata()["training"])["done"] == epoch - 1
        assert all(opened.get_tensor(key).isfinite().all() for key in opened.keys())  # noqa: SIM118


@pytest.mark.parametrize("together", [False, True])
def test_a_training_that_runs_away_is_warned_of_and_one_that_learns_is_not(together, recwarn):
    windows = oscillators(40), oscillators(8, seed=1)

    def trained(lr):
        models, settings = [network(seed=seed) for seed in (0, 1)], {"n_epochs": 4, "lr": lr, "label": "HNN"}
        if together:
            return fit_seeds(models, *windows, seeds=[0, 1], **settings)[1]
        return fit(models[1], *windows, seed=1, **settings)

    trained(1e-3)
    assert not [w for w in recwarn if "grew" in str(w.message)]
    with pytest.warns(
        UserWarning, match=r"^HNN: the prediction loss grew from .* \(lr 1e\+03\): lower lr$"
    ) as told:
        rows = trained(1e3)
    assert rows[-1]["prediction"] > 1e3 * rows[0]["prediction"]
    assert len([w for w in told if "grew" in str(w.message)]) == 1 and told[-1].filename == __file__


GOOD = {"n_epochs": 1, "seed": 0}
W, V = oscillators(8), oscillators(4, seed=1)
REFUSED = {
    "float64 windows": (
        (W.double(), V.double()),
        {},
        ValueError,
        r"training windows are torch.float64 on cpu, the m",
    ),
    "float64 test windows": (
        (W, V.double()),
        {},
        ValueError,
        r"test windows are torch.float64 .*use windows.to",
    ),
    "NumPy": (
        (W.numpy(), V),
        {},
        TypeError,
        r"training windows must be a tensor, got ndarray: use torch.tensor",
    ),
    "a list": ((W, V.tolist()), {}, TypeError, r"test windows must be a tensor, got list"),
    "no windows": ((W[:0], V), {}, ValueError, r"training windows must be \(n, T, D\) .* got \(0, 8, 4\)"),
    "no test windows": ((W, V[:0]), {}, ValueError, r"test windows must be \(n, T, D\) .* got \(0, 8, 4\)"),
    "one time": ((W[:, :1], V), {}, ValueError, r"training windows must be .*T ≥ 2, got \(8, 1, 4\)"),
    "one axis less": ((W[0], V), {}, ValueError, r"training windows must be .*got \(8, 4\)"),
    "two widths": ((W, V[..., :2]), {}, ValueError, r"windows have widths 4 and 2: make them from the same"),
    "another width": ((W[..., :2], V[..., :2]), {}, ValueError, r"\b4\b.*\b2\b|\b2\b.*\b4\b"),
    "batch_size 0": ((W, V), {"batch_size": 0}, ValueError, r"batch_size from 1, got 1 and 0"),
    "n_epochs -1": ((W, V), {"n_epochs": -1}, ValueError, r"n_epochs must be from 0 .*got -1"),
    "lr NaN": ((W, V), {"lr": math.nan}, ValueError, r"lr must be finite and not negative, got nan"),
    "NaN schedule": (
        (W, V),
        {"n_epochs": 3, "energy_schedule": lambda epoch, n: math.nan if epoch == 3 else 1.0},
        ValueError,
        r"energy_schedule gives nan in epoch 3: λ must be finite",
    ),
    "a list of seeds": ((W, V), {"seed": [0, 1]}, TypeError, r"seed must be a whole number, got \[0, 1\]"),
}


@pytest.mark.parametrize("make", [network, lambda: BaselineMLP(4, (8,))], ids=["HNN", "MLP"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_with_is_refused_in_one_sentence(name, make):
    windows, options, error, words = REFUSED[name]
    model = make()
    before = bits(model)
    with pytest.raises(error, match=words) as refused:
        fit(model, *windows, **GOOD | options)
    assert "\n" not in str(refused.value) and same_bits(bits(model), before)


def test_a_model_without_a_check_of_its_own_is_asked_for_its_width():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def rollout(self, z0, n_steps):
            return torch.stack([z0, *[self.layer(z0)] * n_steps], dim=-2)

    fit(Plain(), W, V, **GOOD)
    with pytest.raises(ValueError, match="the model takes no latents of width 2: "):
        fit(Plain(), W[..., :2], V[..., :2], **GOOD)
    with pytest.raises(ValueError, match="Persistence has no parameters to train"):
        fit(Persistence(), W, V, **GOOD)


@pytest.mark.parametrize("seed", [np.int64(3), np.uint8(3), torch.tensor(3)])
def test_any_whole_number_is_a_seed_and_large_ones_too(seed):
    first, second, large = network(), network(), network()
    assert fit(first, W, V, n_epochs=1, seed=3, batch_size=2) == fit(
        second, W, V, n_epochs=1, seed=seed, batch_size=2
    )
    for time_stamp in (20261126133244, 2**70):
        assert fit(large, W, V, n_epochs=1, seed=time_stamp)[0]["epoch"] == 1


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    fit(network(), W, V, **GOOD, checkpoint="~/c")
    assert len(list((tmp_path / "c").glob("training-*.safetensors"))) == 1


def test_every_epoch_sees_full_batches_of_distinct_windows_in_a_new_order():
    class Watched(BaselineMLP):
        def rollout(self, z0, n_steps):
            if torch.is_grad_enabled():
                batches.append(z0[:, 0].tolist())
            return super().rollout(z0, n_steps)

    batches, train = [], oscillators(11)
    fit(Watched(4, (8,)), train, train, n_epochs=2, seed=0, batch_size=4)
    assert [len(batch) for batch in batches] == [4] * 4
    epochs = [batches[0] + batches[1], batches[2] + batches[3]]
    for seen in epochs:
        assert len(set(seen)) == 8 and set(seen) <= set(train[:, 0, 0].tolist())
    assert epochs[0] != epochs[1]


def adamw_by_hand(dynamics, windows, n_epochs, max_norm):
    """The same training with the optimiser written out, one full batch an epoch."""
    parameters = dict(dynamics.named_parameters())
    first = {name: torch.zeros_like(p) for name, p in parameters.items()}
    second = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for epoch in range(1, n_epochs + 1):
        loss = rollout_loss(dynamics, windows, energy_weight(epoch, n_epochs)).total
        slopes = dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))
        network_norm = math.sqrt(sum(g.square().sum().item() for name, g in slopes.items() if name != "dt"))
        lr = cosine_lr(epoch, n_epochs)
        with torch.no_grad():
            for name, p in parameters.items():
                norm = abs(slopes[name].item()) if name == "dt" else network_norm
                g = slopes[name] * min(1, max_norm / (norm + 1e-6))  # PyTorch's 1e-6
                first[name] = 0.9 * first[name] + 0.1 * g
                second[name] = 0.999 * second[name] + 0.001 * g.square()
                mean, square = first[name] / (1 - 0.9**epoch), second[name] / (1 - 0.999**epoch)
                p.mul_(1 - lr * 1e-5).sub_(lr * mean / (square.sqrt() + 1e-8))


def test_gradients_are_clipped_and_the_step_is_adamws():
    windows, distances = oscillators(12).double(), {}
    for max_norm in (1e-7, 1e-2, 1e9):  # AdamW's first step hides the norm until it nears its ε
        expected, actual = network(torch.float64), network(torch.float64)
        adamw_by_hand(expected, windows, 4, max_norm)
        fit(actual, windows, windows, n_epochs=4, seed=0, batch_size=12, max_norm=max_norm)
        for name, tensor in expected.state_dict().items():
            torch.testing.assert_close(actual.state_dict()[name], tensor, rtol=1e-6, atol=1e-9)
        distances[max_norm] = torch.cat([p.detach().flatten() for p in actual.parameters()])
    assert all((a - b).abs().max() > 1e-6 for a, b in pairwise(distances.values()))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("which", ["training", "test"])
def test_windows_with_nan_or_infinity_are_refused_before_anything_is_learnt(value, which):
    windows = {"training": oscillators(8), "test": oscillators(8, seed=1)}
    windows[which][3, 2, 1] = value
    dynamics = network()
    before = bits(dynamics)
    with pytest.raises(ValueError, match=f"the {which} windows hold NaN or infinity"):
        fit(dynamics, windows["training"], windows["test"], n_epochs=1, seed=0)
    assert same_bits(bits(dynamics), before)


def test_fewer_windows_than_a_batch_are_one_batch():
    dynamics = network()
    before = bits(dynamics)
    history = fit(dynamics, oscillators(5), oscillators(3, seed=1), n_epochs=1, seed=0, batch_size=32)
    assert math.isfinite(history[0]["loss"]) and not same_bits(bits(dynamics), before)


def numbers(history):
    return [(row["loss"], row["test_mse"]) for row in history]


ODD_W = torch.randn(16, 4, 8, generator=torch.Generator().manual_seed(0))


class Chain(nn.Module):
    """A user's own model: z → network(z), step by step."""

    def __init__(self, network):
        super().__init__()
        self.network, self.dt = network, 0.1

    def rollout(self, z0, n_steps):
        z = [z0]
        for _ in range(n_steps):
            z.append(self.network(z[-1]))
        return torch.stack(z, dim=-2)


def small():
    with seeded(0):
        return BaselineMLP(8, (4,))


def test_numpys_and_torchs_numbers_are_settings_as_pythons_are(tmp_path):
    plain = fit(small(), ODD_W, ODD_W, seed=0, n_epochs=2, batch_size=8, lr=0.5, checkpoint=tmp_path)
    odd = {"n_epochs": np.int64(2), "batch_size": torch.tensor(8), "lr": np.float32(0.5)}
    assert fit(small(), ODD_W, ODD_W, seed=0, **odd, checkpoint=tmp_path) == plain
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_epochs": 2.0}, "n_epochs must be a whole number, got 2.0"),
        ({"n_epochs": "2"}, "n_epochs must be a whole number, got '2'"),
        ({"n_epochs": 1, "batch_size": None}, "batch_size must be a whole number, got None"),
        ({"n_epochs": 1, "lr": "1e-3"}, "lr must be a number, got '1e-3'"),
        ({"n_epochs": 1, "lr": torch.ones(2)}, r"lr must be a number, got tensor\(\[1., 1.\]\)"),
        ({"epochs": 1}, "epochs is no setting of a training; there are: n_epochs, batch_size, lr, "),
        ({}, "n_epochs is missing: say for how many epochs to train"),
        ({"n_epochs": 1, "energy_schedule": 0.5}, "must be a function of .*, got 0.5: write lambda"),
    ],
)
def test_settings_of_another_kind_are_refused_in_one_sentence(settings, words):
    with pytest.raises(TypeError, match=words):
        fit(small(), ODD_W, ODD_W, seed=0, **settings)


@pytest.mark.parametrize("seed", [1.0, "1", None])
def test_what_is_no_whole_number_is_no_seed(seed):
    words = f"seed must be a whole number, got {seed!r}"
    with pytest.raises(TypeError, match=words):
        fit(small(), ODD_W, ODD_W, seed=seed, n_epochs=1)
    with pytest.raises(TypeError, match=words):
        fit_seeds([small()], ODD_W, ODD_W, seeds=[seed], n_epochs=1)


def test_what_dropout_draws_follows_the_seed_also_after_an_interruption(tmp_path, monkeypatch):
    options = {"n_epochs": 4, "batch_size": 8}

    def trained(seed, global_seed, **more):
        with seeded(0):
            model = Chain(nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5)))
        torch.manual_seed(global_seed)
        drawn = torch.random.get_rng_state()
        history = fit(model, ODD_W, ODD_W, seed=seed, **options, **more)
        assert torch.equal(torch.random.get_rng_state(), drawn)
        return bits(model), history

    expected = trained(0, 1)
    assert trained(1, 1)[1] != expected[1]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        die_after(2, patch)
        trained(0, 2, checkpoint=tmp_path)
    model, history = trained(0, 3, checkpoint=tmp_path)
    assert history == expected[1] and same_bits(model, expected[0])


def test_a_random_schedule_is_asked_once(tmp_path):
    rng = np.random.default_rng(0)
    settings = {"n_epochs": 3, "energy_schedule": lambda epoch, n_epochs: rng.random()}
    history = fit(small(), ODD_W, ODD_W, seed=0, checkpoint=tmp_path, **settings)
    assert [row["energy_weight"] for row in history] == np.random.default_rng(0).random(3).tolist()


def test_windows_with_a_gradient_are_data_alone():
    latents = ODD_W.clone().requires_grad_()
    history = fit(small(), 1 * latents, latents, seed=0, n_epochs=2, batch_size=8)
    assert history == fit(small(), ODD_W, ODD_W, seed=0, n_epochs=2, batch_size=8) and latents.grad is None


def test_training_without_gradients_is_refused():
    with torch.no_grad(), pytest.raises(ValueError, match="call it outside no_grad"):
        fit(small(), ODD_W, ODD_W, seed=0, n_epochs=1)
    with pytest.raises(ValueError, match="BaselineMLP has only frozen parameters: use requires_grad_"):
        fit(small().requires_grad_(False), ODD_W, ODD_W, seed=0, n_epochs=1)


def test_test_windows_move_no_batch_statistics():
    def trained(test):
        with seeded(0):
            model = Chain(nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)))
        model.network[0].eval()
        fit(model, ODD_W, test, seed=0, n_epochs=2)
        assert model.training and not model.network[0].training  # as they were
        return model.state_dict()

    one, other = trained(ODD_W[:1]), trained(100 * ODD_W)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert one["network.1.num_batches_tracked"] == 2 * 3  # epochs × steps of a rollout, none of testing


@pytest.mark.parametrize("name", ["dt", "hamiltonian.kinetic.layers.0.weight"])
def test_what_is_frozen_stays_also_in_a_stack(name):
    def model():
        with seeded(0):
            model = HamiltonianDynamics(SeparableHNN(8, (4,)))
        dict(model.named_parameters())[name].requires_grad_(False)
        return model

    alone, together, before = model(), [model(), model()], model().state_dict()
    history = fit(alone, ODD_W, ODD_W, seed=0, n_epochs=2)
    of_stack = fit_seeds(together, ODD_W, ODD_W, seeds=[0, 1], n_epochs=2)
    assert torch.equal(together[0].state_dict()[name], before[name])
    np.testing.assert_allclose(numbers(of_stack[0]), numbers(history), rtol=1e-5)
