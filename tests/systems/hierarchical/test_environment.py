"""The world as an environment."""

import numpy as np
import pytest
import torch

gymnasium = pytest.importorskip("gymnasium")

from helpers import check_environment  # noqa: E402

from hjepa_utils import HierarchicalJEPA, seeded  # noqa: E402
from hjepa_utils.systems.hierarchical.environment import PushedBodies, draw_pursuit  # noqa: E402
from hjepa_utils.systems.hierarchical.world import draw_problems  # noqa: E402


@pytest.mark.parametrize("controlled", [(0, 1, 2), (1,)])
def test_gymnasium_takes_it(controlled):
    check_environment("PushedBodies-v0", controlled=controlled)


def test_the_unseen_forces_solve_an_episode_in_time():
    problems = draw_problems(3, rng=np.random.default_rng(0), controlled=(0, 2))
    env = gymnasium.make("PushedBodies-v0", controlled=(0, 2))
    seen, info = env.reset(options={"problem": problems})
    assert not info["is_success"]
    for t in range(25):
        action = problems.forces[0, t, [0, 2]].numpy() / 450
        seen, reward, terminated, truncated, info = env.step(action.clip(-1, 1))
        assert (terminated, truncated) == (False, t == 24)
    assert info["is_success"]
    assert reward == pytest.approx(0, abs=1e-3)  # actions are float32, contacts multiply their rounding
    np.testing.assert_allclose(seen["positions"], seen["goal"], atol=0.1)


def test_what_is_seen_is_what_the_model_takes():
    with seeded(0):
        model = HierarchicalJEPA(width=16, heads=2, hidden=16)
    seen, _ = PushedBodies().reset(seed=0)
    window, masses, goal = (torch.from_numpy(seen[name])[None] for name in ("positions", "masses", "goal"))
    with torch.no_grad():
        _, deep = model.encode(goal, masses)
    settings = {"rng": torch.Generator(), "n_candidates": 8, "n_elite": 2, "n_iterations": 1}
    assert model.plan(window, masses, deep, **settings).shape == (1, 25, 3, 2)


def test_goals_are_drawn_dim_and_only_those_that_are_wanted():
    problems = draw_problems(1, rng=np.random.default_rng(3), controlled=(0,))
    away = problems.states[0, -1:].clone()
    away[..., :2] = torch.tensor([[-300.0, -300.0]])
    (picture,) = draw_pursuit(away, problems)
    x, y = problems.goals[0, -1, 0, :2].round().int().tolist()
    assert picture[y, x].tolist() == [0, 85, 85]
    assert picture.max() == 85
    area = (picture[..., 1] > 40).sum()
    assert area == pytest.approx(np.pi * problems.radii[0, 0].item() ** 2, rel=0.15)


@pytest.mark.parametrize("action", [np.zeros(2), np.full((3, 2), np.nan), np.full((3, 2), 1.5)])
def test_an_action_that_is_none_is_refused(action):
    env = PushedBodies()
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"an action is \(3, 2\) finite numbers within ± 1, got \["):
        env.step(action)


@pytest.mark.parametrize(
    "action", ["left", None, [[1], [0, 0]], {"push": 1}, np.zeros((3, 2)) * 1j, np.zeros((3, 2)) > 0]
)
def test_an_action_that_is_no_number_is_refused(action):
    env = PushedBodies()
    env.reset(seed=0)
    with pytest.raises(ValueError, match="an action must be real numbers, in rows of one length, got "):
        env.step(action)


def test_before_an_episode_nothing_can_be_done_or_seen():
    env = PushedBodies(render_mode="rgb_array")
    for act in (lambda: env.step(np.zeros((3, 2))), env.render):
        with pytest.raises(gymnasium.error.ResetNeeded, match=r"no episode has begun: call reset\(\) first"):
            act()


@pytest.mark.parametrize("mode", ["human", "ansi", 3])
def test_what_cannot_be_drawn_is_refused(mode):
    with pytest.raises(ValueError, match="render_mode must be None or 'rgb_array', got "):
        PushedBodies(render_mode=mode)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ([1], ValueError, r"options may be \{'problem': …\} alone, got \[1\]"),
        ({"problems": 3}, ValueError, r"alone, got \{'problems': 3\}"),
        ({"problem": 3}, TypeError, "a problem must be `Problems`.*got <class 'int'>"),
    ],
)
def test_other_options_are_refused(options, error, words):
    with pytest.raises(error, match=words):
        PushedBodies().reset(options=options)


def test_problems_of_other_numbers_are_refused():
    rng = np.random.default_rng(0)
    four, none = draw_problems(1, rng=rng, n_bodies=4), draw_problems(1, rng=rng).some(slice(0))
    for problem, shape in ((four, (1, 4)), (none, (0, 3))):
        with pytest.raises(ValueError, match=rf"got masses of the shape \({shape[0]}, {shape[1]}\)"):
            PushedBodies().reset(options={"problem": problem})
    two = draw_problems(2, rng=rng)
    with pytest.raises(ValueError, match=r"one problem can be drawn, got 2: take `problems.some\(\[k\]\)`"):
        draw_pursuit(two.states[0], two)


def test_a_problem_of_other_bodies_is_refused():
    problems = draw_problems(1, rng=np.random.default_rng(0), controlled=(1,))
    with pytest.raises(ValueError, match=r"controls the bodies \(0, 1, 2\), the problem \(1,\)"):
        PushedBodies().reset(options={"problem": problems})
