"""Acting on a world by what is seen alone: plan, do the first action, look again."""

from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from ...dynamics.planning import plan_actions
from ...runs.checkpoints import resumable
from ...runs.checks import whole_number
from ...runs.fingerprint import hash_code, hash_tensors
from .pendulum import make_pendulum, picture, picture_of, start


class Outcome(NamedTuple):
    """What happened in B episodes of n actions."""

    states: torch.Tensor  # float64 (B, n + 1, …), as the world gives them
    actions: torch.Tensor  # float32 (B, n, A)
    returns: torch.Tensor  # float64 (B,): the environment's rewards, summed


class Planner:
    """z (B, D) → the next actions (B, A): the first of a plan that is made anew every `follow` frames.

    `dynamics` and `utility` are those of `plan_actions`, `settings` too. `plan` is the last one; moved
    on, it is the next one's first guess.
    """

    def __init__(self, dynamics, utility, *, follow=1, **settings):
        if whole_number(follow, "follow") < 1:
            raise ValueError(f"a plan is followed for 1 frame or more, got {follow}")
        self.dynamics, self.utility, self.settings = dynamics, utility, settings
        self.follow, self._done = follow, 0
        self.plan: torch.Tensor | None = None  # (B, horizon, A)

    @property
    def due(self):
        """Whether the next call plans, and looks at its z, or goes on with the last plan."""
        return self._done % self.follow == 0

    def __call__(self, z):
        if self.plan is not None:
            self.plan = torch.cat([self.plan[:, 1:], self.plan[:, -1:]], dim=1)
        if self.due:
            self.plan = plan_actions(self.dynamics, z, self.utility, mean=self.plan, **self.settings)
        self._done += 1
        assert self.plan is not None  # the first call is due
        return self.plan[:, 0]


class PicturePlanner:
    """The same from pictures: whoever acts on a `Stage` is called with it, and looks at its pictures alone.

    `model` is a `HamiltonianWorldModel`, or has its `places`, `momentum`, `dynamics` and sizes. Until
    there are K pictures nothing is done. `z` is what the last plan was made from.
    """

    def __init__(self, model, utility, *, rng, **settings):
        sizes = {"action_dim": model.action_dim, "bound": model.max_action}
        self.model, self.planner = model, Planner(model.dynamics, utility, rng=rng, **sizes, **settings)
        self.seen, self.z = [], None

    @torch.no_grad()
    def __call__(self, stage):
        """The actions (B, A) for what the stage shows now."""
        self.seen.append(self.model.places(stage.pictures()[:, None])[:, 0])
        if len(self.seen) < self.model.n_frames:
            return torch.zeros(len(self.seen[0]), self.model.action_dim)
        if self.planner.due:
            self.z = self.state(stage)
        return self.planner(self.z)

    @torch.no_grad()
    def state(self, stage):
        """z (B, D) of the picture that was looked at last, from what was seen and done before it."""
        before = self.model.n_frames
        q = torch.stack(self.seen[-before:], dim=1)
        done = torch.stack(stage.actions[len(stage.actions) + 1 - before :], dim=1)
        return torch.cat([q[:, -1], self.model.momentum(q, done)], dim=-1)


class SolverModel(nn.Module):
    """A model of motion in the form that the solvers of `stable-worldmodel` call.

    They minimise `get_cost(info, actions)`, (B, n, …), (B, n, horizon, A) → (B, n); `info["z"]` holds the
    states (B, n, D) to start from. These solvers know no bounds: actions are clipped to ± `bound` here,
    and are to be clipped again before they are done.
    """

    def __init__(self, dynamics, utility, bound):
        super().__init__()
        self.dynamics, self.utility, self.bound = dynamics, utility, bound

    @torch.no_grad()
    def get_cost(self, info, actions):
        actions = actions.clamp(-self.bound, self.bound)
        return -self.utility(self.dynamics.rollout(info["z"], actions), actions)


def towards(goal, coordinates, *, weights=1.0, speed=0.1, effort=1e-3):
    """The utility of a way to a place: -Σ_t `weights` (|Δq|² + `speed` |p|²) + `effort` |u|².

    `goal` is (n_q,) or, one for each problem, (B, n_q), such as a model's `places` in a picture; Δq is the
    way from there, `weights` (n_q,) say which coordinates count, and how much.
    """
    goal = goal[..., None, None, :]

    def utility(states, actions):
        q, p = states[..., 1:, :].chunk(2, dim=-1)
        away = coordinates.difference(goal, q).square() + speed * p.square()
        return -(weights * away).sum(dim=(-2, -1)) - effort * actions.square().sum(dim=(-2, -1))

    return utility


class Stage:
    """B environments of one kind, side by side. `actions` are those done so far, (B, A) each."""

    action_dim: int

    def __init__(self, envs):
        self.envs, self.actions = envs, []

    def step(self, actions):
        """Do actions (B, A); the rewards (B,)."""
        self.actions.append(actions)
        done = [env.step(u.numpy()) for env, u in zip(self.envs, actions, strict=True)]
        self.observed = [one[0] for one in done]
        return np.array([one[1] for one in done])

    def states(self):
        """The true ones: float64 (B, …). For measuring, and for planners that need not look."""
        return torch.from_numpy(np.stack([env.state for env in self.envs]))

    def pictures(self):
        """What is seen now: uint8 (B, 3, 64, 64)."""
        raise NotImplementedError


class Pendulums(Stage):
    """Pendulums of Gymnasium from states (θ, θ̇), (B, 2); a `PictureBook` for `show` saves drawing."""

    action_dim = 1

    def __init__(self, starts, show=picture):
        super().__init__([make_pendulum() for _ in starts])
        self.show = show
        for env, state in zip(self.envs, starts, strict=True):
            start(env, state)

    def pictures(self):
        return torch.from_numpy(np.stack([self.show(env) for env in self.envs]))


class Balls(Stage):
    """Tables of pushed balls from states (B, n_balls, 4); rewards count from goals (B, n_balls, 2)."""

    action_dim = 2

    def __init__(self, starts, goals):
        from .balls import PushedBalls  # needs gymnasium at once

        super().__init__([PushedBalls(n_balls=len(state)) for state in starts])
        self.observed = [
            env.reset(options={"state": state, "goal": goal})[0]
            for env, state, goal in zip(self.envs, starts, goals, strict=True)
        ]

    def pictures(self):
        return torch.from_numpy(np.stack(self.observed)).permute(0, 3, 1, 2).contiguous()


def run_episodes(stage, act, n_steps, *, file=None, made_from=None, label="episodes"):
    """`act(stage)` → actions (B, A), done, `n_steps` times: an `Outcome`.

    With a `file` what happened is kept as `resumable` keeps a training, and read instead of done again:
    give `made_from`, JSON-able, what its code does not tell of `act`, such as its seed and
    `hash_tensors` of its weights. Raises `ValueError` for fewer than one step, and actions that are not
    finite (B, A).
    """
    if whole_number(n_steps, "n_steps") < 1:
        raise ValueError(f"an episode has 1 step or more, got {n_steps}")
    start = stage.states()
    outcome = Outcome(
        torch.zeros(len(start), n_steps + 1, *start.shape[1:], dtype=start.dtype),
        torch.zeros(len(start), n_steps, stage.action_dim),
        torch.zeros(len(start), dtype=torch.float64),
    )
    fingerprint = {}
    if file is not None:
        fingerprint = {"starts": hash_tensors({"": start}), "n_steps": n_steps, "made from": made_from}
        fingerprint["the code"] = hash_code(act, run_episodes, type(stage))
    for _ in resumable(
        file, 1, fingerprint=fingerprint, history=[], modules={}, tensors=outcome._asdict(), label=label
    ):
        _play(stage, act, outcome)
    return outcome


def _play(stage, act, outcome):
    """Fill in what happens."""
    outcome.states[:, 0] = stage.states()
    for t in range(outcome.actions.shape[1]):
        actions = act(stage)
        if actions.shape != outcome.actions[:, t].shape or not actions.isfinite().all():
            wanted = tuple(outcome.actions[:, t].shape)
            raise ValueError(f"actions must be finite, {wanted}, got {tuple(actions.shape)}")
        outcome.returns.add_(torch.from_numpy(stage.step(actions)))
        outcome.actions[:, t], outcome.states[:, t + 1] = actions, stage.states()


def hanging_starts(n_episodes, *, rng):
    """Pendulums that hang, almost: (n, 2), within 0.3 rad and 0.3 rad/s of rest below."""
    return np.array([np.pi, 0.0]) + rng.uniform(-0.3, 0.3, (n_episodes, 2))


def upright_picture():
    """The goal: a pendulum at rest above."""
    env = make_pendulum()
    env.reset()
    return torch.from_numpy(picture_of(env, (0.0, 0.0)))


def is_upright(states):
    """Whether cos θ > 0.95 and |θ̇| < 1 rad/s: pendulums (…, 2) → (…)."""
    theta, omega = states.unbind(dim=-1)
    return (theta.cos() > 0.95) & (omega.abs() < 1)


def stands(states, n_last=20):
    """Whether a pendulum stood up, and stayed: upright in all of the last frames, (B, n + 1, 2) → (B,)."""
    return is_upright(states)[:, -n_last:].all(dim=1)


def is_near(states, goals, *, ball, within=0.1):
    """Whether a ball is `within` half-widths of its goal: (B, n + 1, n_balls, 4), (B, 2) → (B, n + 1)."""
    return (states[..., ball, :2] - torch.as_tensor(goals)[:, None]).norm(dim=-1) < within


def first_held(good, n_frames):
    """The first frame from which `good` (B, n) holds for `n_frames` in a row: (B,), infinite where never."""
    if not 1 <= n_frames <= good.shape[1]:
        raise ValueError(f"there are 1 to {good.shape[1]} frames to hold for, got {n_frames}")
    held = good.unfold(1, n_frames, 1).all(dim=-1)
    first = held.double().argmax(dim=1).double()
    return first.masked_fill(~held.any(dim=1), torch.inf)
