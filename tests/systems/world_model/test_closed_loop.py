"""Planning and acting in a loop: the parts by hand, and the whole on the real environments."""

import numpy as np
import pytest
import torch

pytest.importorskip("gymnasium")
pytest.importorskip("pygame")

from hjepa_utils import HamiltonianWorldModel, seeded
from hjepa_utils.systems.world_model import closed_loop
from hjepa_utils.systems.world_model.closed_loop import PicturePlanner, Planner, first_held, towards
from hjepa_utils.systems.world_model.coordinates import Angle, Place
from hjepa_utils.systems.world_model.pendulum import DT, picture, true_rollout
from hjepa_utils.systems.world_model.picture_book import PictureBook


class KnownLaw:
    rollout = staticmethod(true_rollout)


class SeesTheRod:
    """A model that needs no training: the angle is where the dark is, its law is known."""

    n_frames, action_dim, max_action, dynamics = 2, 1, 2.0, KnownLaw()

    def places(self, frames):
        there = 255.0 - frames.float().mean(dim=2)
        axis = torch.arange(64) - 31.5
        x, y = (there.sum(dim=-2) * axis).sum(dim=-1), -(there.sum(dim=-1) * axis).sum(dim=-1)
        return torch.atan2(-x, y)[..., None]

    def momentum(self, q, actions):
        return Angle.difference(q[:, -2], q[:, -1]) / DT


def generator():
    return torch.Generator().manual_seed(0)


def starts(n=2):
    return closed_loop.hanging_starts(n, rng=np.random.default_rng(0))


def test_a_pendulum_whose_law_is_known_stands_up_by_its_pictures_alone():
    """Gymnasium's own, from hanging: the torque is a third of what would lift it at once."""
    model = SeesTheRod()
    goal = model.places(closed_loop.upright_picture()[None, None])[0, 0]
    assert goal.abs().item() < 0.02
    act = PicturePlanner(model, towards(goal, Angle), rng=generator())
    outcome = closed_loop.run_episodes(closed_loop.Pendulums(starts()), act, 100)
    assert outcome.states.shape == (2, 101, 2)
    assert outcome.actions.shape == (2, 100, 1)
    assert closed_loop.stands(outcome.states).all()
    assert not closed_loop.is_upright(outcome.states[:, :20]).any()


def test_what_happened_is_the_environments_own_law_and_reward():
    """The states follow the known law; Gymnasium's reward is -(θ² + 0.1 θ̇² + 0.001 u²) before the step."""
    pushes = 4 * torch.rand(2, 12, 1, generator=generator()) - 2
    act = lambda stage: pushes[:, len(stage.actions)]  # noqa: E731
    outcome = closed_loop.run_episodes(closed_loop.Pendulums(starts()), act, 12)
    assert torch.equal(outcome.actions, pushes)
    path = true_rollout(outcome.states[:, 0], pushes.double())
    torch.testing.assert_close(outcome.states, path, rtol=0, atol=1e-6)
    theta, omega = path[:, :-1].unbind(dim=-1)
    cost = Angle.difference(torch.zeros(()), theta) ** 2 + 0.1 * omega**2 + 0.001 * pushes[..., 0] ** 2
    torch.testing.assert_close(outcome.returns, -cost.sum(dim=1), rtol=1e-5, atol=0)


def test_a_pushed_ball_reaches_its_goal():
    """The law between walls, known, from true states; the other ball lies in a corner."""
    model = HamiltonianWorldModel("balls").eval()
    with torch.no_grad():
        model.dynamics.control.weight.copy_(torch.tensor([[3.0, 0], [0, 3.0], [0, 0], [0, 0]]) / 6)
    state = np.array([[[-0.5, 0.4, 0.3, 0.0], [0.8, 0.8, 0.0, 0.0]]])
    goal = np.array([[[0.3, -0.4], [0.8, 0.8]]])
    weights = torch.tensor([1.0, 1.0, 0.0, 0.0])
    wanted = torch.from_numpy(goal).flatten(1).float()
    settings = {"rng": generator(), "action_dim": 2, "bound": 1.0, "horizon": 20, "follow": 2}
    settings |= {"n_candidates": 50, "n_elite": 6}
    planner = Planner(model.dynamics, towards(wanted, Place, weights=weights), **settings)

    def act(stage):
        seen = stage.states().float()
        return planner(torch.cat([seen[..., :2].flatten(1), seen[..., 2:].flatten(1)], dim=1))

    stage = closed_loop.Balls(state, goal)
    assert stage.pictures().shape == (1, 3, 64, 64)
    outcome = closed_loop.run_episodes(stage, act, 40)
    near = closed_loop.is_near(outcome.states, goal[:, 0], ball=0)
    assert near[0, -10:].all()
    assert not near[0, :5].any()


def test_a_picture_book_shows_what_gymnasium_draws():
    """At random angles, some of them many turns away, and just beside each other."""
    book = PictureBook()
    rng = np.random.default_rng(0)
    theta = np.concatenate([rng.uniform(-20, 20, 150), 1.0 + np.linspace(0, 0.02, 50)])
    stage = closed_loop.Pendulums(np.stack([theta, 0 * theta], axis=1)[:1], book)
    (env,) = stage.envs
    for angle in theta:
        env.state = np.array([angle, 0.0])
        assert np.array_equal(stage.pictures()[0].numpy(), picture(env))
    assert book.n_remembered > 20
    book.drawn = {key: 255 - shown for key, shown in book.drawn.items()}
    with pytest.raises(RuntimeError, match="draws its pendulum in another way"):
        for _ in range(200):
            book(env)


def test_balls_show_where_they_are_after_every_step():
    from hjepa_utils.systems.world_model.balls import draw_balls

    state = np.array([[[-0.5, 0.4, 0.3, 0.0], [0.6, 0.1, 0.0, 0.9]]])
    stage = closed_loop.Balls(state, state[..., :2])
    for _ in range(3):
        drawn = torch.from_numpy(draw_balls(stage.states().numpy())).permute(0, 3, 1, 2)
        assert torch.equal(stage.pictures(), drawn)
        stage.step(torch.tensor([[1.0, -1.0]]))


def test_the_way_to_a_goal_counts_around_the_circle():
    """By hand: one step at angle a, momentum p and torque u costs Δ² + 0.1 p² + 0.001 u²."""
    states = torch.tensor([[[[9.0, 9.0], [1.5 - 2 * torch.pi, 2.0]]]])
    cost = -towards(torch.tensor([1.0]), Angle)(states, torch.tensor([[[[1.5]]]]))
    torch.testing.assert_close(cost, torch.tensor([[0.25 + 0.4 + 0.00225]]), rtol=1e-4, atol=0)


def test_every_problem_has_its_goal_and_coordinates_that_do_not_count_are_free():
    """Two problems, one path: (q₁, q₂, p₁, p₂) after one step; the second coordinate has no weight."""
    states = torch.tensor([[[0.0] * 4, [0.5, 7.0, 1.0, 7.0]]]).expand(2, 1, 2, 4)
    goals, weights = torch.tensor([[0.0, 0.0], [0.5, 0.0]]), torch.tensor([2.0, 0.0])
    cost = -towards(goals, Place, weights=weights, effort=0.0)(states, torch.zeros(2, 1, 1, 2))
    torch.testing.assert_close(cost, torch.tensor([[2 * 0.25 + 0.2], [0.2]]))


def test_a_planner_does_the_first_action_and_moves_its_plan_on():
    seen = []

    class Watched(KnownLaw):
        def rollout(self, z0, actions):
            seen.append(actions[:, 0])  # the first candidate is the first guess itself
            return true_rollout(z0, actions)

    settings = {"action_dim": 1, "bound": 2.0, "horizon": 4, "n_iterations": 1}
    planner = Planner(Watched(), towards(torch.zeros(1), Angle), rng=generator(), **settings)
    z = torch.tensor([[3.0, 0.0], [2.0, 1.0]])
    first = planner(z)
    assert torch.equal(first, planner.plan[:, 0])
    before = planner.plan.clone()
    planner(z)
    torch.testing.assert_close(seen[1], before[:, [1, 2, 3, 3]])


def test_a_plan_may_be_followed_for_some_frames():
    plans = []

    class Counted(KnownLaw):
        def rollout(self, z0, actions):
            plans.append(len(actions))
            return true_rollout(z0, actions)

    settings = {"action_dim": 1, "bound": 2.0, "horizon": 4, "n_iterations": 1, "follow": 3}
    planner = Planner(Counted(), towards(torch.zeros(1), Angle), rng=generator(), **settings)
    z = torch.tensor([[3.0, 0.0], [2.0, 1.0]])
    first = planner(z)
    plan = planner.plan.clone()
    assert torch.equal(torch.stack([first, planner(z), planner(z)], dim=1), plan[:, :3])
    assert len(plans) == 1
    planner(z)
    assert len(plans) == 2
    with pytest.raises(ValueError, match="followed for 1 frame or more, got 0"):
        Planner(KnownLaw(), None, follow=0)


def test_a_picture_planner_waits_for_its_pictures_and_reads_what_the_model_reads():
    with seeded(0):
        model = HamiltonianWorldModel("pendulum", n_frames=3).eval()
    settings = {"rng": generator(), "horizon": 4, "n_candidates": 8, "n_elite": 2}
    act, shown = PicturePlanner(model, towards(torch.zeros(1), Angle), **settings), []

    def watching(stage):
        shown.append(stage.pictures())
        return act(stage)

    outcome = closed_loop.run_episodes(closed_loop.Pendulums(starts()), watching, 6)
    assert (outcome.actions[:, :2] == 0).all()
    assert (outcome.actions[:, 2:] != 0).any()
    with torch.no_grad():
        z = model.encode(torch.stack(shown, dim=1), outcome.actions[:, :5])
    torch.testing.assert_close(act.z, z)


def test_to_stand_is_to_stay_up():
    up, away, fast = [0.1, 0.0], [0.5, 0.0], [0.0, 1.5]
    others = [[away] * 10 + [up] * 20, [fast] + [up] * 29, [fast] * 30]
    paths = torch.tensor([[up] * 30, [up] * 29 + [away], *others])
    assert closed_loop.stands(paths).tolist() == [True, False, True, True, False]


def test_near_is_within_a_distance_of_ones_own_goal():
    states = torch.zeros(2, 2, 2, 4)
    states[1, :, 1, :2] = torch.tensor([[0.0, 0.09], [0.0, 0.11]])
    near = closed_loop.is_near(states, np.zeros((2, 2)), ball=1)
    assert near.tolist() == [[True, True], [True, False]]


def test_the_first_frame_that_is_held():
    good = torch.tensor([[0, 1, 1, 0, 1, 1, 1], [0, 0, 0, 0, 0, 1, 1], [1, 1, 1, 0, 0, 0, 0]]).bool()
    assert first_held(good, 3).tolist() == [4.0, np.inf, 0.0]
    assert first_held(good, 1).tolist() == [1.0, 5.0, 0.0]
    with pytest.raises(ValueError, match="1 to 7 frames to hold for, got 8"):
        first_held(good, 8)


@pytest.mark.parametrize(
    ("act", "n_steps", "words"),
    [
        (lambda stage: torch.zeros(2, 1), 0, "1 step or more, got 0"),
        (lambda stage: torch.zeros(3, 1), 1, r"finite, \(2, 1\), got \(3, 1\)"),
        (lambda stage: torch.full((2, 1), torch.nan), 1, "actions must be finite"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(act, n_steps, words):
    with pytest.raises(ValueError, match=words):
        closed_loop.run_episodes(closed_loop.Pendulums(starts()), act, n_steps)


def test_what_happened_is_kept_and_read_again_where_the_same_acts(tmp_path):
    calls = []

    class Act:
        def __call__(self, stage):
            calls.append(1)
            return torch.ones(2, 1)

    def played(made_from):
        stage = closed_loop.Pendulums(starts())
        options = {"file": tmp_path / "swing.safetensors", "made_from": made_from}
        return closed_loop.run_episodes(stage, Act(), 5, **options)

    first = played({"seed": 0})
    calls.clear()
    again = played({"seed": 0})
    assert not calls
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    played({"seed": 1})
    assert len(calls) == 5


def test_costs_for_the_solvers_of_others():
    """(B, n) costs of clipped actions, as the utility says."""
    model = closed_loop.SolverModel(KnownLaw(), towards(torch.zeros(1), Angle), bound=2.0)
    z, actions = torch.rand(2, 5, 2, generator=generator()), torch.full((2, 5, 3, 1), 9.0)
    cost = model.get_cost({"z": z}, actions)
    wanted = -towards(torch.zeros(1), Angle)(true_rollout(z, actions * 0 + 2), actions * 0 + 2)
    torch.testing.assert_close(cost, wanted)


def test_stable_worldmodels_solver_plans_with_it():
    """Their cross-entropy method on our model of motion finds what ours finds: the same cost to 2 %."""
    solvers = pytest.importorskip("stable_worldmodel.solver")
    policy = pytest.importorskip("stable_worldmodel.policy")
    from gymnasium.spaces import Box

    z, utility = torch.tensor([[2.5, 0.5], [1.0, -2.0]]), towards(torch.zeros(1), Angle)
    model = closed_loop.SolverModel(KnownLaw(), utility, bound=2.0)
    model.anything = torch.nn.Parameter(torch.zeros(()))  # a learned model has parameters
    settings = {"num_samples": 300, "n_steps": 20, "topk": 30, "batch_size": 2, "var_scale": 1.5}
    solver = solvers.CEMSolver(model, **settings)
    config = policy.PlanConfig(horizon=10, receding_horizon=1)
    solver.configure(action_space=Box(-2.0, 2.0, (2, 1)), n_envs=2, config=config)
    theirs = solver.solve({"z": z})["actions"].clamp(-2, 2)
    options = {"action_dim": 1, "bound": 2.0, "horizon": 10, "n_candidates": 300, "n_elite": 30}
    planner = Planner(KnownLaw(), utility, rng=generator(), n_iterations=20, **options)
    planner(z)
    costs = [model.get_cost({"z": z[:, None]}, plan[:, None]) for plan in (theirs, planner.plan)]
    torch.testing.assert_close(*costs, rtol=0.02, atol=0)
