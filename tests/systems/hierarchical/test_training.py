"""The trainings: what they lower, and that they go on where they stopped."""

import numpy as np
import pytest
import torch
from helpers import count_updates

from hjepa_utils import HierarchicalJEPA, seeded
from hjepa_utils.systems.hierarchical import training
from hjepa_utils.systems.hierarchical.world import draw_sequences

SHORT = {"n_epochs": 3, "n_sequences": 32, "batch_size": 16}
PHASES = {
    "JEPA": (training.fit_jepa, SHORT),
    "predictors": (training.fit_predictors, SHORT | {"n_updates": 3, "horizons": (2, 3)}),
}


def small():
    with seeded(0):
        return HierarchicalJEPA(width=16, heads=2, hidden=16, depth=2, shallow=1)


@pytest.mark.parametrize("phase", PHASES)
def test_an_interrupted_training_ends_with_the_same_bits(phase, tmp_path, monkeypatch):
    fit, settings = PHASES[phase]
    whole = small()
    history = fit(whole, seed=1, **settings)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        count_updates(patch, break_off_after=5, optimiser=torch.optim.AdamW)  # of two or three an epoch
        fit(small(), seed=1, checkpoint=tmp_path, **settings)
    assert len(list(tmp_path.glob("*.state.safetensors"))) == 1
    resumed = small()
    assert fit(resumed, seed=1, checkpoint=tmp_path, **settings) == history
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_the_first_phase_lowers_the_loss_and_tells_its_terms():
    history = training.fit_jepa(small(), seed=0, n_epochs=4, n_sequences=96, batch_size=16, lr=3e-3)
    assert [row["loss"] for row in history] == sorted((row["loss"] for row in history), reverse=True)
    last = history[-1]
    assert last["loss"] < 0.8 * history[0]["first loss"]
    parts = (
        25 * sum(last[f"{term}_{tap}"] for term in ("invariance", "variance") for tap in ("shallow", "deep"))
        + sum(last[f"covariance_{tap}"] for tap in ("shallow", "deep"))
        + 2 * last["inverse"]
    )
    assert last["loss"] == pytest.approx(parts, rel=1e-5)


def test_the_second_phase_moves_the_predictors_alone():
    model = small()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    history = training.fit_predictors(model, seed=0, **PHASES["predictors"][1])
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.split(".")[0] for name in moved} == {"next", "later"}
    for row in history:
        assert row["loss"] == pytest.approx(row["step"] + row["event"], rel=1e-5)


def test_latents_kept_are_those_of_the_encoder():
    model, data = small(), draw_sequences(5, rng=np.random.default_rng(0))
    shallow, first, second = training.encoded(model, data, (5, 15), batch_size=2)
    with torch.no_grad(), training.fast(model.device):
        near, far = model.encode(data.positions[:, :16], data.masses)
        last, goal = model.encode(data.positions[:, 25:], data.masses)
    assert shallow.shape == (5, 41, 16)
    assert first.shape == second.shape == (5, 2, 16)
    for kept, encoded in (
        (shallow[:, 15], near),
        (shallow[:, 40], last),
        (first[:, 1], far),
        (second[:, 1], goal),
    ):
        torch.testing.assert_close(kept.float(), encoded, rtol=2e-2, atol=2e-2)  # bf16 where it is fast


def test_epochs_have_fresh_sequences_unless_they_are_asked_not_to(monkeypatch):
    seen = []

    def spy(*args, **world):
        seen.append(draw_sequences(*args, **world))
        return seen[-1]

    monkeypatch.setattr(training, "draw_sequences", spy)
    for fresh in (True, False):
        training.fit_jepa(small(), seed=0, fresh=fresh, n_epochs=2, n_sequences=16, batch_size=16)
    first, second, third, fourth = (sequences.states for sequences in seen)
    assert not torch.equal(first, second)
    assert torch.equal(third, fourth)
    assert torch.equal(first, third)


def test_the_rate_rises_and_falls():
    rates = [training.rate(update, 1000, 1.0) for update in range(1000)]
    assert rates[0] < 0.02
    assert max(rates) == rates[99] > 0.95
    assert rates[-1] == pytest.approx(0.02, abs=1e-3)
    assert all(np.diff(rates[100:]) < 0)


@pytest.mark.parametrize(
    ("fit", "change", "words"),
    [
        ("JEPA", {"statistics": "raw"}, "one of changes, plain, got 'raw'"),
        ("JEPA", {"n_ahead": 14}, "n_ahead must be from 1 to 12"),
        ("JEPA", {"places": (5, 16)}, r"places must be frames 0 … 15 of a window, got \(5, 16\)"),
        ("JEPA", {"batch_size": 64}, "a batch must fit into an epoch, got 64 and 32 sequences"),
        ("JEPA", {"n_epochs": 0}, "n_epochs must be 1 or more, got 0"),
        ("JEPA", {"places": 5}, "places must be frames 0 … 15 of a window, got 5"),
        ("JEPA", {"lr": -1e-3}, "lr must be finite and above 0, a number, got -0.001"),
        ("JEPA", {"lr": 1e30}, "JEPA: a loss of epoch 1 is not finite .*lower lr"),
        ("predictors", {"n_rolled": 0}, "n_rolled must be 1 or more, got 0"),
        ("predictors", {"n_updates": 0}, "n_updates must be 1 or more, got 0"),
        ("predictors", {"horizons": ()}, r"horizons must be from 1 to 37 frames, got \(\)"),
        ("predictors", {"horizons": (8, 40)}, r"horizons must be from 1 to 37 frames, got \(8, 40\)"),
    ],
)
def test_what_cannot_be_trained_with_is_one_sentence(fit, change, words):
    fit, settings = PHASES[fit]
    with pytest.raises(ValueError, match=words):
        fit(small(), seed=0, **settings | change)
