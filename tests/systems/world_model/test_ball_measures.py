"""What the balls' model is measured by, on states that are known."""

import numpy as np
import pytest
import torch

pytest.importorskip("gymnasium")

from hjepa_utils.systems.world_model import ball_measures as measures
from hjepa_utils.systems.world_model import balls


@pytest.fixture(scope="module")
def episodes():
    return balls.record_balls(4, 40, rng=np.random.default_rng(5))


def test_the_true_law_is_the_environments(episodes):
    path = balls.true_rollout(episodes.states[:, 3], episodes.actions[:, 3:20])
    torch.testing.assert_close(path, episodes.states[:, 3:21], rtol=0, atol=1e-5)


def test_balls_that_a_model_lets_overlap_are_moved_apart():
    state = np.array([[[0.0, 0.0, 1.0, 0.0], [0.2, 0.0, 0.0, 0.0]], [[0.9, 0.0, 1.0, 0.0], [0, 0.5, 0, 0]]])
    path = balls.true_rollout(state, np.zeros((2, 3, 2)))
    apart = (path[0, :, 0, :2] - path[0, :, 1, :2]).norm(dim=-1)
    assert apart[0].item() == pytest.approx(40 / 128, abs=1e-5)
    assert path[1, 0, 0, 0].item() == pytest.approx(1 - 20 / 128, abs=1e-5)
    assert path.isfinite().all()


def test_contacts_are_where_a_push_and_drag_do_not_explain_the_velocity():
    env, u = balls.PushedBalls(), np.array([0.5, 0.2])
    env.reset(options={"state": np.array([[-0.3, 0.0, 0.8, 0.0], [0.3, 0.0, 0.0, 0.0]])})
    states = [env.state]
    for _ in range(12):
        env.step(u)
        states.append(env.state)
    states = torch.from_numpy(np.stack(states))[None]
    met = balls.contacts(states, torch.tensor(u).expand(1, 12, 2))[0]
    assert met.sum() == 1
    assert states[0, met.int().argmax(), 1, 2] == 0 < states[0, met.int().argmax() + 1, 1, 2]


def test_slots_are_matched_to_balls_by_where_they_are(episodes):
    true = episodes.states[..., :2]
    places = torch.stack([true[..., 1, :], 0 * true[..., 0, :], true[..., 0, :]], dim=2).flatten(2).float()
    order = measures.slots_of_balls(places, episodes.states)
    assert order == [2, 0]
    z = torch.cat([places, 2 * places], dim=-1)
    states = measures.balls_at(z, order)
    torch.testing.assert_close(states[..., :2], true.float())
    torch.testing.assert_close(states[..., 2:], 2 * true.float())


def test_distances_are_in_pixels_of_the_pictures():
    true = torch.zeros(1, 2, 2)
    off = torch.tensor([[[0.3, 0.4], [0.0, 0.0]]])
    assert measures.distances(off, true).item() == pytest.approx(32 * 0.5 / 2**0.5)


def test_floors_and_ceiling(episodes):
    order = [1, 0]
    first = episodes.states[:, 5, [1, 0]]
    z0 = torch.cat([first[..., :2].flatten(1), first[..., 2:].flatten(1)], dim=1)
    paths = measures.floors_and_ceiling(z0, episodes.actions[:, 5:15], order)
    assert torch.equal(paths["persistence"][:, 10], episodes.states[:, 5])
    expected = episodes.states[:, 5, :, :2] + 0.5 * episodes.states[:, 5, :, 2:]
    torch.testing.assert_close(paths["free flight"][:, 10, :, :2], expected)
    torch.testing.assert_close(paths["true law from there"], episodes.states[:, 5:16], rtol=0, atol=1e-5)


def test_a_summary_of_squares_is_a_root_again():
    groups = np.repeat(np.arange(8), 3)
    of = measures.rms_summary(torch.full((2, 24), 0.5), groups, seed=0)
    assert of.mean == pytest.approx(0.5)
    assert of.interval == pytest.approx((0.5, 0.5))
