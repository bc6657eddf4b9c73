"""The model behind another library's planners."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hjepa_utils import HierarchicalJEPA, seeded
from hjepa_utils.systems.hierarchical.solvers import GoalCost
from hjepa_utils.systems.hierarchical.world import draw_problems


@pytest.fixture
def model():
    with seeded(0):
        return HierarchicalJEPA(width=16, heads=2, hidden=16).eval()


def info(n=2):
    """Observations of `PushedBodies`, side by side."""
    problems = draw_problems(n, rng=np.random.default_rng(0))
    return {
        "positions": problems.states[..., :2].float(),
        "masses": problems.masses,
        "goal": problems.goals[..., :2].float(),
    }


def beside_candidates(seen, n):
    return {name: part[:, None].expand(-1, n, *part.shape[1:]) for name, part in seen.items()}


def test_the_cost_is_that_of_the_models_event(model):
    seen = info()
    actions = 2 * torch.rand(2, 4, 5, 6, generator=torch.Generator().manual_seed(0)) - 1
    with torch.no_grad():
        costs = GoalCost(model).get_cost(beside_candidates(seen, 4), actions)
        _, deep = model.encode(seen["positions"], seen["masses"])
        _, goal = model.encode(seen["goal"], seen["masses"])
        forces = 450 * actions[:, 3].reshape(2, 5, 3, 2).repeat_interleave(5, dim=1)
        expected = (model.predict_event(deep, forces) - goal).square().mean(dim=1)
    torch.testing.assert_close(costs[:, 3], expected, rtol=2e-2, atol=1e-3)  # bf16 where it is fast


def test_blocks_of_actions_are_one_a_frame_and_what_is_beyond_the_bounds_is_at_them(model):
    seen, cost = beside_candidates(info(), 3), GoalCost(model, controlled=(1,))
    held = 1.5 * torch.randn(2, 3, 5, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        by_frame = cost.get_cost(seen, held.repeat(1, 1, 1, 5))  # five frames of the same in each block
        torch.testing.assert_close(by_frame, cost.get_cost(seen, held))
        torch.testing.assert_close(by_frame, cost.criterion(seen, held.clamp(-1, 1)))


def add_forces(deep, forces):
    return deep + torch.nn.functional.pad(forces.mean(dim=1).flatten(1) / 450, (0, 10))


SOLVERS = {
    "CEMSolver": {"n_steps": 20},
    "MPPISolver": {"n_steps": 60, "var_scale": 0.3, "temperature": 1e-3},  # its noise does not shrink
}


@pytest.mark.parametrize("name", SOLVERS)
def test_its_solvers_find_what_is_best(model, name):
    """An event that adds the forces' mean to the latent: the best actions are the goal's offset."""
    solver = pytest.importorskip("stable_worldmodel.solver")
    spaces = pytest.importorskip("gymnasium.spaces")
    offset, seen = torch.tensor([0.5, -0.3, 0.1, 0.0, 0.7, -0.6]), info()
    model.predict_event = add_forces
    cost = GoalCost(model)
    _, deep = model.encode(seen["positions"], seen["masses"])
    cost._deep = lambda info, which: deep + (which == "goal") * torch.nn.functional.pad(offset, (0, 10))
    found = getattr(solver, name)(cost, batch_size=2, num_samples=200, **SOLVERS[name])
    found.configure(
        action_space=spaces.Box(-1.0, 1.0, (2, 3, 2)),
        n_envs=2,
        config=SimpleNamespace(horizon=5, receding_horizon=5, action_block=1),
    )
    actions = found.solve(seen)["actions"]
    assert actions.shape == (2, 5, 6)
    torch.testing.assert_close(actions.clip(-1, 1).mean(dim=1), offset.expand(2, 6), rtol=0, atol=0.1)


@pytest.mark.parametrize(
    ("shape", "words"),
    [((2, 3, 5, 4), "an action has 6 numbers, got 4"), ((2, 3, 4, 6), "a multiple of the actions, got 4")],
)
def test_actions_that_do_not_fit_are_refused(model, shape, words):
    with pytest.raises(ValueError, match=words):
        GoalCost(model).get_cost(beside_candidates(info(), 3), torch.zeros(shape))


@pytest.mark.parametrize("controlled", [(0, 1, 3), (0, 0), (-1,), ()])
def test_bodies_that_there_are_not_cannot_be_controlled(model, controlled):
    with pytest.raises(ValueError, match=r"controlled bodies must be different ones of 0 … 2"):
        GoalCost(model, controlled)


def test_candidates_that_do_not_fit_what_is_seen_are_refused(model):
    cost, seen = GoalCost(model), beside_candidates(info(), 3)
    for shape in ((3, 5, 6), (1, 3, 5, 6)):
        with pytest.raises(ValueError, match=r"must be \(B, S, horizon, D\), here B = 2, got \("):
            cost.get_cost(seen, torch.zeros(shape))
    with pytest.raises(ValueError, match="positions, masses and goal, there is no masses"):
        cost.get_cost({"positions": seen["positions"]}, torch.zeros(2, 3, 5, 6))


def test_arrays_are_taken_as_tensors_are(model):
    seen = beside_candidates(info(), 3)
    with torch.no_grad():
        costs = [GoalCost(model).get_cost(seen, of(2, 3, 5, 6)) for of in (torch.ones, lambda *s: np.ones(s))]
    assert torch.equal(*costs)
