"""The trainings: what they learn from a case that is known, and that they go on where they stopped."""

import math

import numpy as np
import pytest
import torch
from helpers import count_updates, true_episodes

from hjepa_utils import HamiltonianWorldModel, seeded
from hjepa_utils.systems.world_model import training
from hjepa_utils.systems.world_model.gauge import AngleGauge
from hjepa_utils.systems.world_model.grids import pixel_grid
from hjepa_utils.systems.world_model.measures import energy_fit

SHORT = {"n_steps": 60, "batch_size": 8, "horizons": (2, 4)}


def new_model(n_frames=3, **settings):
    with seeded(0):
        return HamiltonianWorldModel("pendulum", n_frames=n_frames, **settings)


def random_frames(n, n_frames):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, n_frames, 3, 64, 64), generator=generator, dtype=torch.uint8)


def test_dynamics_from_angles_learn_the_pendulums_energy_and_its_push():
    model, (places, actions) = new_model(), true_episodes(n=30)
    settings = {"n_steps": 300, "batch_size": 64, "horizons": (2, 4), "lr": 1e-2}
    history = training.fit_dynamics(model.dynamics, model.momentum, places, actions, seed=0, **settings)
    fit = energy_fit(model.dynamics, AngleGauge(1, 0.0, 0.0, 1.0), speed=4.0)
    assert len(history) == 300
    assert fit.r2 > 0.999
    assert fit.push == pytest.approx(3.0, rel=0.05)
    assert fit.scale == pytest.approx(1.0, abs=0.05)


def fit_dynamics(model, folder, places, actions):
    settings = {"seed": 1, "checkpoint": folder} | SHORT
    return training.fit_dynamics(model.dynamics, model.momentum, places, actions, **settings)


def fit_pictures(model, folder, frames, actions):
    return training.fit_pictures(model, frames, seed=1, checkpoint=folder, n_steps=52, batch_size=2)


def fit_jointly(model, folder, frames, actions):
    settings = {"n_steps": 52, "batch_frames": 5, "horizons": (2, 3)}
    return training.fit_jointly(model, frames, actions, seed=1, checkpoint=folder, **settings)


TRAININGS = [
    pytest.param(fit_dynamics, lambda: true_episodes(4, 12), id="dynamics"),
    pytest.param(fit_pictures, lambda: (random_frames(2, 8), torch.zeros(2, 7, 1)), id="pictures"),
    pytest.param(fit_jointly, lambda: (random_frames(2, 8), torch.zeros(2, 7, 1)), id="joint"),
]


@pytest.mark.parametrize(("fit", "data"), TRAININGS)
def test_a_training_takes_one_thread_so_that_cores_do_not_change_it(fit, data, tmp_path, monkeypatch):
    model, seen, before = new_model(), set(), torch.get_num_threads()
    clip = training.clip_grad_norm_
    monkeypatch.setattr(
        training, "clip_grad_norm_", lambda *a: (seen.add(torch.get_num_threads()), clip(*a))[1]
    )
    torch.set_num_threads(2)
    try:
        fit(model, tmp_path, *data())
        after = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
    assert (seen, after) == ({1}, 2)


@pytest.mark.parametrize(("train", "data"), TRAININGS)
def test_an_interrupted_training_ends_with_the_same_bits(train, data, tmp_path, monkeypatch):
    data = data()
    whole = new_model()
    history = train(whole, None, *data)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        count_updates(patch, break_off_after=51)
        train(new_model(), tmp_path, *data)
    resumed, done = new_model(), count_updates(monkeypatch)
    assert train(resumed, tmp_path, *data) == history
    assert len(done) == len(history) - 50  # the last state is that after step 50
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def bars(theta):
    """Dark bars on white, from the middle outwards at angles θ: uint8 (n, 3, 64, 64)."""
    (x, y), cos, sin = (
        pixel_grid(64).unbind(dim=-1),
        *(f(theta)[:, None, None] for f in (torch.cos, torch.sin)),
    )
    along, across = x * cos + y * sin, y * cos - x * sin
    inside = torch.minimum(torch.minimum(along, 0.75 - along), 0.1 - across.abs())
    dark = (inside * 32 + 0.5).clamp(0, 1)
    return (255 * (1 - dark)).byte()[:, None].expand(-1, 3, -1, -1).contiguous()


def test_pictures_are_told_apart():
    """Below the error of the mean picture nobody gets who does not see which picture it is."""
    theta = torch.arange(100) * 2 * math.pi / 100
    model, frames = new_model(), bars(theta)[None]
    pictures = model.pictures(frames)[0]
    mean_error = (pictures - pictures.mean(dim=0)).square().mean().item()
    history = training.fit_pictures(model, frames, seed=0, n_steps=150, batch_size=48)
    assert np.mean([row["loss"] for row in history[-10:]]) < 0.9 * mean_error


def test_a_joint_training_moves_every_part():
    model = new_model(residual=1.0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fit_jointly(model, None, random_frames(2, 8), torch.ones(2, 7, 1))
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    for part in ("encoder", "decoder", "momentum", "dynamics.hamiltonian", "dynamics.control",
                 "dynamics.damping", "dynamics.residual"):  # fmt: skip
        assert any(name.startswith(part) for name in moved), part


def test_the_rate_rises_and_falls():
    rates = [training.one_cycle(step, 100, 1.0) for step in range(100)]
    assert max(rates) == pytest.approx(1.0, abs=0.01)
    assert rates.index(max(rates)) in (19, 20)
    assert rates[0] < 0.05
    assert rates[-1] < 1e-3
    assert all(np.diff(rates[:19]) > 0)
    assert all(np.diff(rates[21:]) < 0)


def test_the_horizon_grows_in_equal_shares():
    settings = training.DynamicsSettings(n_steps=8, horizons=(2, 5, 9, 11))
    assert [training.horizon_at(step, settings) for step in range(8)] == [2, 2, 5, 5, 9, 9, 11, 11]


def test_windows_are_neighbouring_frames_with_the_actions_between():
    times = torch.arange(20.0).repeat(3, 1)[..., None] + 100 * torch.arange(3.0)[:, None, None]
    q, u = training.draw_windows(times, times[:, :-1] + 0.5, 6, 50, np.random.default_rng(0))
    assert q.shape == (50, 6, 1)
    assert u.shape == (50, 5, 1)
    assert (q.diff(dim=1) == 1).all()
    assert torch.equal(u, q[:, :-1] + 0.5)
    first = q[:, 0, 0] % 100
    assert (first.min(), first.max()) == (0, 14)  # the last window ends with the episode


def test_the_loss_of_the_true_path_is_that_of_the_momenta_alone():
    """A free rotor: its head reads p exactly, so both parts of the loss are nothing."""
    model = new_model()
    for parameter in model.dynamics.parameters():
        parameter.data.zero_()
    model.dynamics.damping.network[2].bias.data.fill_(-20.0)
    q = (0.3 + 0.05 * 2.0 * torch.arange(11.0)).repeat(4, 1)[..., None]
    settings = training.DynamicsSettings()
    loss = training.dynamics_loss(
        model.dynamics, model.momentum, q, torch.zeros(4, 10, 1), settings, torch.tensor([4])
    )
    assert loss.item() < 1e-9
    turned = q.clone()
    turned[:, 3:] += math.pi  # every later angle is now on the other side: |e^{ia} - e^{ib}|² = 4
    settings = training.DynamicsSettings(momentum_weight=0.0)
    loss = training.dynamics_loss(
        model.dynamics, model.momentum, turned, torch.zeros(4, 10, 1), settings, torch.tensor([4])
    )
    assert loss.item() == pytest.approx(4.0, rel=1e-5)


def test_a_residual_is_paid_for():
    model = new_model(residual=2.0)
    places, actions = true_episodes(4, 12)
    model.dynamics.residual.network[2].bias.data.fill_(1.0)  # |r|² = 2² / 2
    losses = [
        training.dynamics_loss(
            model.dynamics, model.momentum, places, actions,
            training.DynamicsSettings(residual_weight=weight), torch.tensor([4]),
        ).item()
        for weight in (0.0, 0.5)
    ]  # fmt: skip
    assert losses[1] - losses[0] == pytest.approx(0.5 * 2.0, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"places": torch.zeros(2, 6, 1)}, "episodes of 7 frames or more, got 6"),
        (
            {"actions": torch.zeros(2, 12, 1)},
            r"must be \(2, 11, A\), one between two frames, got \(2, 12, 1\)",
        ),
        ({"actions": torch.full((2, 11, 1), math.nan)}, "actions must be finite"),
        ({"places": torch.full((2, 12, 1), math.nan)}, "dynamics: the loss of step 0 is nan"),
    ],
)
def test_what_cannot_be_trained_with_is_one_sentence(change, words):
    model, data = new_model(), {"places": torch.zeros(2, 12, 1), "actions": torch.zeros(2, 11, 1)} | change
    with pytest.raises(ValueError, match=words):
        training.fit_dynamics(model.dynamics, model.momentum, *data.values(), seed=0, **SHORT)
