"""The pushed balls as an environment, and its pictures."""

import numpy as np
import pytest
import torch

gymnasium = pytest.importorskip("gymnasium")

from helpers import check_environment  # noqa: E402

from hjepa_utils import load_model  # noqa: E402
from hjepa_utils.systems.world_model import ball_measures as measures  # noqa: E402
from hjepa_utils.systems.world_model import balls  # noqa: E402


@pytest.mark.parametrize("one_colour", [False, True])
def test_gymnasium_takes_it(one_colour):
    check_environment("PushedBalls-v0", one_colour=one_colour)


def test_the_first_ball_is_pushed_and_the_second_is_not():
    """Over one frame far from everything: v = a/γ + (v₀ - a/γ) e^{-γ t} in half-widths."""
    env = balls.PushedBalls()
    state = np.array([[-0.5, -0.5, 0.2, 0.0], [0.5, 0.5, 0.0, -0.3]])
    env.reset(options={"state": state})
    env.step(np.array([0.5, -1.0]))
    decayed = np.exp(-balls.DRAG / 20)
    last = 3.0 * np.array([0.5, -1.0]) / balls.DRAG
    np.testing.assert_allclose(env.state[0, 2:], last + (state[0, 2:] - last) * decayed, rtol=1e-12)
    np.testing.assert_allclose(env.state[1, 2:], state[1, 2:] * decayed, rtol=1e-12)


def test_the_reward_is_less_the_squared_way_to_the_goal():
    env = balls.PushedBalls()
    state = np.array([[-0.5, -0.5, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]])
    env.reset(options={"state": state, "goal": [[0.1, 0.3], [0.0, 0.0]]})
    _, reward, terminated, truncated, info = env.step(np.zeros(2))
    assert reward == pytest.approx(-(0.6**2 + 0.8**2))
    assert not terminated
    assert not truncated
    assert info["state"].tolist() == state.tolist()


def test_a_ball_shows_where_it_is():
    """The brightness' centre of mass in a picture is the ball, to a tenth of a pixel."""
    rng = np.random.default_rng(0)
    states = rng.uniform(-0.8, 0.8, (50, 2, 2))
    states = states[np.linalg.norm(states[:, 0] - states[:, 1], axis=1) > 0.4]
    frames = balls.draw_balls(states).astype(float)
    axis = (np.arange(64) + 0.5) / 32 - 1
    for ball, channel in ((0, 1), (1, 0)):  # cyan has green, red has none
        there = frames[..., channel]
        total = there.sum(axis=(1, 2))
        x, y = (there.sum(axis=1) @ axis) / total, (there.sum(axis=2) @ axis) / total
        np.testing.assert_allclose(np.stack([x, y], axis=-1), states[:, ball], rtol=0, atol=0.1 / 32)


def test_balls_of_one_colour_are_told_apart_by_place_alone():
    states = np.array([[[-0.5, 0.0], [0.5, 0.2]], [[0.5, 0.2], [-0.5, 0.0]]])
    one, other = balls.draw_balls(states, one_colour=True)
    assert np.array_equal(one, other)
    coloured, swapped = balls.draw_balls(states)
    assert not np.array_equal(coloured, swapped)


def test_records_episodes_that_are_its_own_law():
    episodes = balls.record_balls(3, 6, rng=np.random.default_rng(1))
    assert episodes.frames.shape == (3, 6, 3, 64, 64)
    assert episodes.actions.shape == (3, 5, 2)
    env = balls.PushedBalls()
    for frames, actions, states in zip(*episodes, strict=True):
        env.reset(options={"state": states[0].numpy()})
        for t, action in enumerate(actions.numpy()):
            shown, *_ = env.step(action)
            np.testing.assert_allclose(env.state, states[t + 1].numpy(), rtol=1e-12)
            assert np.array_equal(shown, frames[t + 1].permute(1, 2, 0).numpy())
    assert torch.equal(episodes.some([2]).actions, episodes.actions[2:])


@pytest.mark.parametrize("action", [[0.0], [np.nan, 0.0], [1.5, 0.0]])
def test_an_action_that_is_none_is_refused(action):
    env = balls.PushedBalls()
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"an action is 2 finite numbers within ± 1, got \["):
        env.step(np.array(action))


def test_numbers_of_balls_without_colours_are_refused():
    with pytest.raises(ValueError, match="2 or 3 balls, got n_balls 4"):
        balls.PushedBalls(n_balls=4)


def test_the_model_that_ships_foresees_new_balls_through_contacts():
    """From four pictures and the pushes to come: half a second ahead, to a pixel of its own pictures."""
    model, new = load_model("world_model_balls"), balls.record_balls(12, 20, rng=np.random.default_rng(77))
    with torch.no_grad():
        z0 = model.encode(new.frames[:, 4:8], new.actions[:, 4:7])
        path = model.rollout(z0, new.actions[:, 7:17])
        places = model.places(new.frames)
    order = measures.slots_of_balls(places, new.states)
    true = new.states[:, 7:18]
    assert balls.contacts(new.states, new.actions)[:, 4:17].any(dim=1).sum() >= 4
    assert measures.distances(measures.balls_at(path, order), true).max() < 1
    seen = measures.balls_at(torch.cat([places, places], dim=-1), order)
    assert measures.distances(seen, new.states).square().mean().sqrt() < 0.05
    drawn = model.decode(torch.cat([places, places], dim=-1)).float() / 255
    assert (drawn - new.frames.float() / 255).square().mean() < 0.005
