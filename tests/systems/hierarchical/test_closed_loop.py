"""Acting: what a perfect level reaches, when plans are made anew, and what counts as reached."""

import numpy as np
import pytest
import torch

from hjepa_utils import HierarchicalJEPA, seeded
from hjepa_utils.systems.hierarchical import closed_loop
from hjepa_utils.systems.hierarchical.world import draw_problems, move

FEW = {"n_candidates": 8, "n_elite": 2, "n_iterations": 1}


def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def problems():
    return draw_problems(6, rng=np.random.default_rng(0), controlled=(0,))


@pytest.fixture(scope="module")
def model():
    with seeded(0):
        return HierarchicalJEPA(width=16, heads=2, hidden=16).eval()


def test_the_unseen_forces_reach_and_waiting_mostly_does_not(problems):
    played = closed_loop.play(problems, problems.forces)
    assert played.reached(problems).all()
    assert played.way_left(problems).max() < 1e-3
    waited = closed_loop.play(problems, closed_loop.no_forces(problems))
    assert waited.reached(problems).double().mean() < 0.7
    pushed = closed_loop.random_forces(problems, rng=generator())
    assert pushed.abs().max() <= 450
    assert not pushed[:, :, 1:].any()
    assert torch.equal(pushed[:, :5], pushed[:, :1].expand(-1, 5, -1, -1))


def test_the_true_world_reaches_goals_and_again_more_nearly(problems):
    settings = {"n_candidates": 60, "n_elite": 8, "n_iterations": 6}
    level = closed_loop.TrueLevel(problems)
    open_loop = closed_loop.pursue(problems, level, rng=generator(), **settings)
    closed = closed_loop.pursue(problems, level, level, rng=generator(), **settings)
    waited = closed_loop.play(problems, closed_loop.no_forces(problems))
    left = [outcome.way_left(problems).mean() for outcome in (closed, open_loop, waited)]
    assert left[0] < left[1] < left[2] / 2
    assert closed.reached(problems).double().mean() >= 0.8
    for outcome in (open_loop, closed):
        states = move(problems.states[:, -1], problems.masses, outcome.forces)
        torch.testing.assert_close(states, outcome.states, rtol=0, atol=1e-6)
        assert outcome.forces.abs().max() <= 450
        assert not outcome.forces[:, :, 1:].any()


def test_an_open_loop_of_the_event_level_is_the_models_plan(problems, model):
    outcome = closed_loop.pursue(problems, closed_loop.EventLevel(model, problems), rng=generator(), **FEW)
    with torch.no_grad():
        _, goal = model.encode(problems.goals[..., :2].float(), problems.masses)
    positions = problems.states[..., :2].float()
    plan = model.plan(positions, problems.masses, goal, rng=generator(), controlled=(0,), **FEW)
    torch.testing.assert_close(outcome.forces, plan)


def test_the_step_levels_cost_is_the_way_from_the_end_of_its_rollout(problems, model):
    level = closed_loop.StepLevel(model, problems)
    blocks = 450 * (2 * torch.rand(6, 4, 2, 1, 2, generator=generator()) - 1)
    costs = level.cost(problems.states, 10)(blocks)
    assert costs.shape == (6, 4)
    with torch.no_grad():
        shallow, _ = model.encode(problems.states[..., :2].float(), problems.masses)
        goal, _ = model.encode(problems.goals[..., :2].float(), problems.masses)
        forces = torch.zeros(6, 10, 3, 2)
        forces[:, :, 0] = blocks[:, 1, :, 0].repeat_interleave(5, dim=1)
        end = model.rollout(shallow, forces)[:, -1]
    expected = (end - goal).square().mean(dim=1)
    torch.testing.assert_close(costs[:, 1], expected, rtol=0.05, atol=1e-3)  # bf16 where it is fast


class Spy:
    """A level that keeps what it is asked."""

    def __init__(self):
        self.asked = []

    def cost(self, states, n_frames):
        self.asked.append((states, n_frames))
        return lambda blocks: blocks.square().sum(dim=(-3, -2, -1))


def test_what_is_left_is_planned_anew_from_what_was_seen(problems):
    first, again = Spy(), Spy()
    outcome = closed_loop.pursue(problems, first, again, rng=generator(), **FEW)
    assert [n for _, n in first.asked] == [25]
    assert [n for _, n in again.asked] == [20, 15, 10, 5]
    path = torch.cat([problems.states, outcome.states[:, 1:]], dim=1)
    for k, (states, _) in enumerate(again.asked, start=1):
        assert torch.equal(states, path[:, 5 * k : 5 * k + 16])


def test_forces_keep_to_the_bound_that_is_given(problems):
    level = closed_loop.TrueLevel(problems)
    strong = closed_loop.pursue(problems, level, rng=generator(), force=900.0, **FEW)
    assert 450 < strong.forces.abs().max() <= 900
    assert 450 < closed_loop.random_forces(problems, rng=generator(), force=900.0).abs().max() <= 900


def test_plans_are_told_block_by_block(problems):
    """Of an open loop they are one plan, of which ever less is left."""
    plans = []
    outcome = closed_loop.pursue(problems, Spy(), rng=generator(), plans=plans, **FEW)
    assert [plan.shape[1] for plan in plans] == [25, 20, 15, 10, 5]
    for k, plan in enumerate(plans):
        assert torch.equal(plan, outcome.forces[:, 5 * k :])


def test_what_is_kept_is_read_again_and_goes_on_where_it_stopped(problems, tmp_path):
    log = tmp_path / "asked"  # a file: what a closure holds counts as its code

    def asked():
        return log.read_text() if log.exists() else ""

    def act(some, rng):
        log.write_text(f"{asked()}{len(some.masses)} ")
        if asked() == "4 2 ":
            raise KeyboardInterrupt
        return closed_loop.play(some, closed_loop.random_forces(some, rng=rng))

    how = {"file": tmp_path / "random", "seed": 3, "n_at_once": 4}
    with pytest.raises(KeyboardInterrupt):
        closed_loop.kept(problems, act, **how)
    outcome = closed_loop.kept(problems, act, **how)
    assert asked() == "4 2 2 "
    again = closed_loop.kept(problems, act, **how)
    assert asked() == "4 2 2 "
    for first, second in zip(outcome, again, strict=True):
        assert torch.equal(first, second)
    states = move(problems.states[:, -1], problems.masses, outcome.forces)
    torch.testing.assert_close(outcome.states, states)
    other = closed_loop.kept(problems, act, **how | {"seed": 4})
    assert not torch.equal(other.forces, outcome.forces)


def test_an_event_level_plans_whole_events_alone(problems, model):
    with pytest.raises(ValueError, match="plans 25 frames, asked for 20: let another level plan the rest"):
        closed_loop.EventLevel(model, problems).cost(problems.states, 20)


def test_what_counts_as_reached(problems):
    """In the fourth frame and not at the end; at the end alone; never."""
    some = problems.some(slice(3))
    away = some.states[:, -1]
    states = away[:, None].repeat(1, 26, 1, 1)
    states[0, 4], states[1, 25] = some.goals[0, -1], some.goals[1, -1]
    outcome = closed_loop.Outcome(states, some.forces)
    assert outcome.reached(some).tolist() == [False, True, False]
    assert outcome.ever_reached(some).tolist() == [True, True, False]
    frames = outcome.frames_to_goal(some)
    assert frames[:2].tolist() == [4.0, 25.0]
    assert frames[2].isnan()
    left = outcome.way_left(some)
    assert left[1] == 0
    true = (away[0, 0, :2] - some.goals[0, -1, 0, :2]).norm()
    assert left[0].item() == pytest.approx(true.item())


def test_what_cannot_be_played_is_refused(problems, tmp_path):
    n = len(problems.masses)
    with pytest.raises(
        ValueError, match=rf"forces must be \({n}, 25, 3, 2\), one a frame and body, got \({n}, 10"
    ):
        closed_loop.play(problems, problems.forces[:, :10])
    with pytest.raises(TypeError, match=r"rng must be a torch\.Generator, got numpy\.random"):
        closed_loop.random_forces(problems, rng=np.random.default_rng(0))
    for change, words in (
        ({"n_at_once": 0}, "n_at_once must be 1 or more, got 0"),
        ({"seed": -1}, "SEED must be a whole number from 0"),
    ):
        call = {"file": tmp_path / "episodes", "seed": 0} | change
        with pytest.raises(ValueError, match=words):
            closed_loop.kept(problems, lambda p, rng: closed_loop.play(p, p.forces), **call)
