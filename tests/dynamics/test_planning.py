"""The cross-entropy method on problems whose answers are known."""

import pytest
import torch

from hjepa_utils import cem
from hjepa_utils.dynamics.planning import plan_actions


def quadratic(target, weights):
    def cost(x):
        return (weights * (x - target[:, None])).square().flatten(2).sum(dim=-1)

    return cost


@pytest.fixture
def problem():
    """Four quadratics over (5, 2), their optima within ± 1.5, the axes of different weight."""
    generator = torch.Generator().manual_seed(3)
    target = 3 * torch.rand(4, 5, 2, generator=generator, dtype=torch.float64) - 1.5
    return target, torch.tensor([1.0, 3.0], dtype=torch.float64)


def generator():
    return torch.Generator().manual_seed(0)


def test_finds_the_optimum_of_quadratics(problem):
    target, weights = problem
    settings = {"n_candidates": 400, "n_elite": 40, "n_iterations": 30}
    found = cem(quadratic(target, weights), torch.zeros_like(target), 2.0, rng=generator(), **settings)
    assert found.shape == target.shape
    assert found.dtype == target.dtype
    torch.testing.assert_close(found, target, rtol=0, atol=5e-3)


def test_bounds_hold_and_the_optimum_is_then_the_nearest_point_of_the_box(problem):
    target, weights = problem
    seen = []

    def cost(x):
        seen.append(x)
        return quadratic(target, weights)(x)

    settings = {"n_candidates": 400, "n_elite": 40, "n_iterations": 30, "low": -1.0, "high": 0.5}
    found = cem(cost, torch.zeros_like(target), 2.0, rng=generator(), **settings)
    everything = torch.stack(seen)
    assert everything.min() == -1.0  # a draw with deviation 2 does meet both bounds
    assert everything.max() == 0.5
    torch.testing.assert_close(found, target.clamp(-1.0, 0.5), rtol=0, atol=5e-3)


def test_one_iteration_is_the_mean_of_the_cheapest(problem):
    target, weights = problem
    drawn = []

    def cost(x):
        drawn.append((x, quadratic(target, weights)(x)))
        return drawn[-1][1]

    found = cem(cost, target + 1, 0.5, rng=generator(), n_candidates=50, n_elite=7, n_iterations=1)
    ((x, costs),) = drawn
    assert torch.equal(x[:, 0], target + 1)  # the first guess is a candidate itself
    for mine, candidates, prices in zip(found, x, costs, strict=True):
        torch.testing.assert_close(mine, candidates[prices.argsort()[:7]].mean(dim=0))


def test_the_same_seed_gives_the_same_plan_and_the_global_generator_is_left_alone(problem):
    target, weights = problem
    before = torch.get_rng_state()
    plans = [
        cem(quadratic(target, weights), torch.zeros_like(target), 1.0, rng=generator()) for _ in range(2)
    ]
    assert torch.equal(*plans)
    assert torch.equal(torch.get_rng_state(), before)


def test_nan_is_the_worst_cost(problem):
    target, weights = problem

    def cost(x):
        prices = quadratic(target, weights)(x)
        return torch.where(x[..., 0, 0] > 0, torch.nan, prices)  # half of the space is forbidden

    found = cem(cost, torch.zeros_like(target), 1.0, rng=generator(), n_candidates=200, n_elite=20)
    assert found.isfinite().all()
    assert (found[:, 0, 0] <= 0).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_elite": 0}, "1 <= n_elite"),
        ({"n_elite": 101}, "1 <= n_elite"),
        ({"n_iterations": 0}, "n_iterations >= 1"),
        ({"std": 0.0}, "std must be finite and above 0"),
        ({"std": torch.nan}, "std must be finite"),
        ({"mean": torch.zeros(4)}, "a first guess for each problem"),
        ({"mean": torch.full((4, 5, 2), torch.inf)}, "finite"),
        ({"low": 1.0, "high": -1.0}, "low must be below high, got 1.0 and -1.0"),
        ({"cost": lambda x: x.sum(dim=-1)}, r"must give \(4, 100\)"),
        ({"cost": lambda x: x.flatten(2).sum(dim=-1) * torch.nan}, "only 0 candidates"),
    ],
)
def test_what_cannot_be_planned_with_is_refused_in_a_sentence(problem, change, words):
    target, weights = problem
    call = {"cost": quadratic(target, weights), "mean": torch.zeros_like(target), "std": 1.0} | change
    with pytest.raises(ValueError, match=words):
        cem(call.pop("cost"), call.pop("mean"), call.pop("std"), rng=generator(), **call)


class Cart:
    """q̇ = p, ṗ = u, exact for u held over h = 0.5."""

    def rollout(self, z0, actions):
        states = [z0]
        for u in actions.unbind(dim=-2):
            q, p = states[-1].chunk(2, dim=-1)
            states.append(torch.cat([q + 0.5 * p + 0.125 * u, p + 0.5 * u], dim=-1))
        return torch.stack(states, dim=-2)


def to_rest(states, actions):
    return -states[..., 1:, :].square().sum(dim=(-2, -1)) - 0.1 * actions.square().sum(dim=(-2, -1))


def best_actions(z0, horizon=4):
    """The optimum of `to_rest` by least squares: the path is linear in the actions."""
    zero, eye = torch.zeros(horizon, dtype=z0.dtype), torch.eye(horizon, dtype=z0.dtype)
    free = Cart().rollout(z0, zero[:, None])[1:].flatten()
    columns = [Cart().rollout(torch.zeros_like(z0), one[:, None])[1:].flatten() for one in eye]
    design = torch.cat([torch.stack(columns, dim=1), 0.1**0.5 * eye])
    return torch.linalg.lstsq(design, torch.cat([-free, zero])[:, None]).solution


def test_a_plan_is_the_linear_quadratic_optimum():
    z0 = torch.tensor([[1.0, 0.0], [-0.3, 0.8]], dtype=torch.float64)
    settings = {"n_candidates": 400, "n_elite": 40, "n_iterations": 30, "min_std": 0.0}
    sizes = {"action_dim": 1, "bound": 3.0, "horizon": 4}
    plan = plan_actions(Cart(), z0, to_rest, rng=generator(), **sizes, **settings)
    best = torch.stack([best_actions(start) for start in z0])
    assert best.abs().max() < 3  # or the bound would matter
    torch.testing.assert_close(plan, best, rtol=0, atol=5e-3)


def test_a_first_guess_is_gone_on_from():
    """With a deviation of nearly nothing, the plan stays where the guess is."""
    z0, guess = torch.zeros(2, 2), torch.full((2, 4, 1), 0.7)
    sizes = {"action_dim": 1, "bound": 3.0, "horizon": 4, "std": 1e-6, "min_std": 0.0}
    plan = plan_actions(Cart(), z0, to_rest, rng=generator(), mean=guess, **sizes)
    torch.testing.assert_close(plan, guess, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"z0": torch.zeros(2)}, r"finite states \(B, D\), got \(2,\)"),
        ({"z0": torch.full((1, 2), torch.nan)}, "finite states"),
        ({"z0": [[0.0, 0.0]]}, "got list"),
        ({"horizon": 0}, "1 frame or more, got 0"),
        ({"mean": torch.zeros(1, 3, 1)}, r"must be \(1, 4, 1\), got \(1, 3, 1\)"),
        ({"utility": lambda states, actions: states}, "cost must give"),
    ],
)
def test_what_no_plan_can_start_from_is_refused_in_a_sentence(change, words):
    call = {"z0": torch.zeros(1, 2), "utility": to_rest, "horizon": 4} | change
    with pytest.raises(ValueError, match=words):
        plan_actions(Cart(), rng=generator(), action_dim=1, bound=3.0, **call)
