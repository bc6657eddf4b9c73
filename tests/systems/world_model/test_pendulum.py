"""Pendulum-v1 as a source of pictures."""

import numpy as np
import pytest
import torch

pytest.importorskip("gymnasium")
pytest.importorskip("pygame")

from hjepa_utils.systems.world_model import pendulum
from hjepa_utils.systems.world_model.episodes import draw_full_actions


@pytest.fixture(scope="module")
def episodes():
    return pendulum.record_pendulum(4, 12, rng=np.random.default_rng(0), speed=8.0)


def test_shapes_and_kinds(episodes):
    assert episodes.frames.shape == (4, 12, 3, 64, 64)
    assert episodes.frames.dtype == torch.uint8
    assert episodes.actions.shape == (4, 11, 1)
    assert episodes.actions.abs().max() <= 2
    assert (episodes.actions[3] == 0).all()  # the fourth lets go


def test_the_true_law_is_gymnasiums(episodes):
    predicted = pendulum.true_rollout(episodes.states[:, 0], episodes.actions.double())
    torch.testing.assert_close(predicted, episodes.states, rtol=0, atol=1e-6)


def test_a_picture_shows_the_angle_and_no_torque(episodes):
    """After a push the picture is that of the same angle at rest."""
    env = pendulum.make_pendulum()
    pendulum.start(env, (0.7, 0.0))
    before = pendulum.picture(env)
    env.step(np.array([2.0]))
    env.render()
    env.state = np.array([0.7, 0.0])
    env.last_u = 2.0
    assert np.array_equal(pendulum.picture(env), before)
    assert np.array_equal(pendulum.picture_of(env, (0.7, 5.0)), before)
    assert env.state.tolist() == [0.7, 0.0]  # asking for another picture moves nothing
    assert not np.array_equal(pendulum.picture_of(env, (0.9, 0.0)), before)


def test_a_picture_is_dark_on_white_where_the_rod_is():
    """Upright, the rod is above the middle; hanging, it is the mirror image."""
    env = pendulum.make_pendulum()
    env.reset()
    up = 255.0 - pendulum.picture_of(env, (0.0, 0.0)).mean(axis=0)
    down = 255.0 - pendulum.picture_of(env, (np.pi, 0.0)).mean(axis=0)
    rows = np.arange(64) + 0.5
    assert (up.sum(axis=1) @ rows) / up.sum() < 26
    assert (down.sum(axis=1) @ rows) / down.sum() > 38


def test_the_true_energy_is_kept_by_the_exact_law_and_falls_at_the_clip():
    states = torch.tensor([[0.0, 1.0], [torch.pi, 0.0]], dtype=torch.float64)
    assert pendulum.true_energy(states).tolist() == pytest.approx([15.5, -15.0])


def test_friction_takes_its_share_of_the_speed():
    """One step of the true law, then e^{-γ dt}."""
    rubbed = pendulum.record_pendulum(2, 6, rng=np.random.default_rng(0), friction=0.5)
    states = rubbed.states
    moved = pendulum.true_step(states[:, :-1], rubbed.actions.double())
    torch.testing.assert_close(states[:, 1:, 0], moved[..., 0], rtol=0, atol=1e-6)
    torch.testing.assert_close(states[:, 1:, 1], np.exp(-0.025) * moved[..., 1], rtol=0, atol=1e-6)


def test_another_rod_moves_by_its_own_law():
    """θ̈ = 15 sin θ / l + 3 u / (m l²), by symplectic Euler, far below the clip; pictures stay."""
    other = pendulum.record_pendulum(3, 6, rng=np.random.default_rng(0), length=1.25, mass=1.6)
    theta, omega = other.states.unbind(dim=-1)
    push = 3 * other.actions[..., 0].double() / (1.6 * 1.25**2)
    omega_next = omega[:, :-1] + pendulum.DT * (15 * theta[:, :-1].sin() / 1.25 + push)
    torch.testing.assert_close(omega[:, 1:], omega_next, rtol=0, atol=1e-6)
    torch.testing.assert_close(theta[:, 1:], theta[:, :-1] + pendulum.DT * omega_next, rtol=0, atol=1e-6)
    usual = pendulum.record_pendulum(3, 6, rng=np.random.default_rng(0))
    assert torch.equal(other.states[:, 0], usual.states[:, 0])
    assert torch.equal(other.frames[:, 0], usual.frames[:, 0])


def test_full_actions_are_the_largest_and_change_sides():
    actions = draw_full_actions(3, 100, 2, 1.5, rng=np.random.default_rng(0))
    assert actions.dtype == np.float32
    assert (np.abs(actions) == 1.5).all()
    changes = (np.diff(actions, axis=1) != 0).sum(axis=1)
    assert changes.min() >= 3
    assert changes.max() <= 20


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"n_episodes": 0}, ValueError, "n_episodes must be 1 or more, got 0"),
        ({"n_frames": 1}, ValueError, "n_frames must be 2 or more, got 1"),
        ({"n_frames": 2.5}, TypeError, "n_frames must be a whole number"),
        ({"rng": 0}, ValueError, "rng must be a numpy.random.Generator"),
        ({"length": 0.0}, ValueError, "length must be a number, from 0.01 to 100, got 0.0"),
        ({"mass": float("nan")}, ValueError, "mass must be a number, from 0.01 to 100, got nan"),
    ],
)
def test_bad_input_is_one_sentence(change, error, words):
    call = {"n_episodes": 1, "n_frames": 3, "rng": np.random.default_rng(0)} | change
    with pytest.raises(error, match=words):
        pendulum.record_pendulum(call.pop("n_episodes"), call.pop("n_frames"), **call)
