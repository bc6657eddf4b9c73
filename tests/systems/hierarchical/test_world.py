"""Sequences and problems: the settings they are drawn with, and that goals can be reached."""

import numpy as np
import pytest
import torch

from hjepa_utils import advance_bodies
from hjepa_utils.systems.hierarchical import world


def rng(seed=0):
    return np.random.default_rng(seed)


def test_sequences_are_the_simulators_and_differ_by_seed():
    drawn, again, other = (world.draw_sequences(20, rng=rng(seed)) for seed in (0, 0, 1))
    assert drawn.states.shape == (20, 41, 3, 4)
    assert drawn.forces.shape == (20, 40, 3, 2)
    assert torch.equal(drawn.states, again.states)
    assert not torch.equal(drawn.states, other.states)
    path = advance_bodies(
        drawn.states[:, 0].numpy(), drawn.masses.double().numpy(), drawn.forces.double().numpy()
    )
    np.testing.assert_allclose(drawn.states, path, rtol=0, atol=1e-9)
    assert torch.equal(drawn.positions, drawn.states[..., :2].float())


def test_forces_are_held_over_blocks_and_some_bodies_are_left_alone():
    forces = world.draw_forces(3000, 23, rng=rng())
    assert forces.shape == (3000, 23, 3, 2)
    blocks = forces[:, ::5]
    assert np.array_equal(np.repeat(blocks, 5, axis=1)[:, :23], forces)
    idle = (forces == 0).all(axis=(1, 3))
    assert idle.mean() == pytest.approx(0.3, abs=0.02)
    pushed = blocks.transpose(0, 2, 1, 3)[~idle]
    assert np.abs(pushed).max() <= 450
    assert pushed.std() == pytest.approx(450 / 3**0.5, rel=0.02)


@pytest.mark.parametrize("controlled", [(0, 1, 2), (1,)])
def test_unseen_forces_lead_to_the_goals_and_no_start_is_solved(controlled):
    problems = world.draw_problems(30, rng=rng(), controlled=controlled)
    assert len(problems.masses) == 30
    ends = world.move(problems.states[:, -1], problems.masses, problems.forces)
    torch.testing.assert_close(ends[:, -1], problems.goals[:, -1])
    torch.testing.assert_close(ends[:, -16:], problems.goals)
    assert world.solved(ends[:, -1], problems).all()
    assert not world.solved(problems.states[:, -1], problems).any()
    others = [body for body in range(3) if body not in controlled]
    assert not problems.forces[:, :, others].any()
    assert problems.forces[:, :, list(controlled)].any(dim=(1, 3)).all()


def test_solved_is_within_the_radius_of_every_controlled_body():
    problems = world.draw_problems(2, rng=rng(), controlled=(0, 2))
    at = problems.goals[:, -1].clone()
    radii = 20 * problems.masses.double().sqrt()
    at[0, 0, 0] += 0.99 * radii[0, 0]
    at[0, 1, 0] += 100.0  # not controlled
    at[1, 2, 1] -= 1.01 * radii[1, 2]
    assert world.solved(at, problems).tolist() == [True, False]
    torch.testing.assert_close(
        world.ways(at, problems)[0], torch.stack([0.99 * radii[0, 0], radii[0, 0] * 0])
    )
    path = torch.stack([at, problems.goals[:, -1]], dim=1)
    assert world.solved(path, problems).tolist() == [[True, True], [False, True]]
    assert world.ways(path, problems).shape == (2, 2, 2)


def test_other_worlds_can_be_drawn():
    heavy = world.draw_problems(5, rng=rng(), masses=(2.0, 2.5), speed=120.0, force=900.0)
    assert heavy.masses.min() >= 2
    assert 450 < heavy.forces.abs().max() <= 900


@pytest.mark.parametrize("controlled", [(3,), (-1,), (), (0, 0)])
def test_bodies_that_there_are_not_are_refused(controlled):
    with pytest.raises(ValueError, match=r"different ones of 0 … 2, at least one, got \("):
        world.draw_problems(1, rng=rng(), controlled=controlled)


@pytest.mark.parametrize("controlled", [1, None, "01", (True, False, True), (0.5,)])
def test_what_is_no_list_of_bodies_is_refused(controlled):
    with pytest.raises(TypeError, match=r"controlled bod.* must be a .*got "):
        world.draw_problems(1, rng=rng(), controlled=controlled)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n": 0}, "n must be a whole number, 1 or more, got 0"),
        ({"n": 2.5}, "n must be a whole number, 1 or more, got 2.5"),
        ({"n_bodies": "3"}, "n_bodies must be a whole number, 1 or more, got '3'"),
        ({"rng": torch.Generator()}, "rng must be a numpy.random.Generator, got torch._C.Generator"),
        ({"force": np.nan}, "force must be finite and not negative, a number, got nan"),
        ({"force": -1.0}, "force must be finite and not negative, a number, got -1.0"),
    ],
)
def test_problems_that_cannot_be_drawn_are_one_sentence(change, words):
    call = {"n": 1, "rng": rng()} | change
    with pytest.raises(ValueError, match=words):
        world.draw_problems(call.pop("n"), **call)


def test_a_world_in_which_nothing_is_to_do_is_refused():
    """Nothing moves: every start is at its goal, for ever."""
    with pytest.raises(ValueError, match=r"only 0 of 60 starts .* larger force or speed, got 0.0 and 0.0"):
        world.draw_problems(1, rng=rng(), force=0.0, speed=0.0)
