"""Acting on a world by what is seen alone: plan, do the first action, look again."""

from typing import NamedTuple

import numpy as np
import torch

from .pendulum import make_pendulum, picture, picture_of, start


class Outcome(NamedTuple):
    """What happened in B episodes of n actions."""

    states: torch.Tensor  # float64 (B, n + 1, 2)
    actions: torch.Tensor  # float32 (B, n, A)
    returns: torch.Tensor  # float64 (B,): the environment's rewards, summed


class PicturePlanner:
    """Actions towards a goal that is given as a picture, planned anew at every frame.

    `goal` is uint8 (3, 64, 64). The cost of a path is Σ_t |Δq|² + `speed` |p|² + `effort` |u|² over its
    frames, Δq the way from the goal's q; `weights` (n_q,) say which coordinates count. Until there are
    K frames nothing is done. The last plan, moved on by a frame, is the next one's first guess.
    """

    def __init__(self, model, goal, *, rng, horizon=30, speed=0.1, effort=1e-3, weights=1.0, **settings):
        self.model, self.rng, self.horizon, self.settings = model, rng, horizon, settings
        self.speed, self.effort, self.weights = speed, effort, weights
        with torch.no_grad():
            self.goal = model.places(goal[None, None])[0, 0]
        self.plan = None

    @torch.no_grad()
    def __call__(self, frames, actions):
        """All frames so far (B, t + 1, 3, 64, 64) and actions (B, t, A) → the next ones, (B, A)."""
        if frames.shape[1] < self.model.n_frames:
            return torch.zeros(len(frames), self.model.action_dim)
        if self.plan is not None:
            self.plan = torch.cat([self.plan[:, 1:], self.plan[:, -1:]], dim=1)
        z = self.model.encode(frames, actions)
        options = {"rng": self.rng, "horizon": self.horizon, "mean": self.plan} | self.settings
        self.plan = self.model.plan(z, self.utility, **options)
        return self.plan[:, 0]

    def utility(self, states, actions):
        """Less what the path costs: (…, n + 1, D), (…, n, A) → (…)."""
        q, p = states[..., 1:, :].chunk(2, dim=-1)
        away = self.model.coordinates.difference(self.goal, q).square()
        path = (self.weights * (away + self.speed * p.square())).sum(dim=(-2, -1))
        return -path - self.effort * actions.square().sum(dim=(-2, -1))


def run_pendulums(act, starts, n_steps=150):
    """Pendulums from states (B, 2), side by side, driven by `act(frames, actions)` → (B, 1)."""
    envs = [make_pendulum() for _ in starts]
    for env, state in zip(envs, starts, strict=True):
        start(env, state)
    states = [np.stack([env.state for env in envs])]
    frames, actions, returns = [_look(envs)], [torch.zeros(len(envs), 0, 1)], np.zeros(len(envs))
    for _ in range(n_steps):
        action = act(torch.stack(frames, dim=1), torch.cat(actions, dim=1))
        returns += [env.step(u.numpy())[1] for env, u in zip(envs, action, strict=True)]
        actions.append(action[:, None])
        frames.append(_look(envs))
        states.append(np.stack([env.state for env in envs]))
    return Outcome(
        torch.from_numpy(np.stack(states, axis=1)), torch.cat(actions, dim=1), torch.from_numpy(returns)
    )


def _look(envs):
    return torch.from_numpy(np.stack([picture(env) for env in envs]))


def hanging_starts(n_episodes, *, rng):
    """Pendulums that hang, almost: (n, 2), within 0.3 rad and 0.3 rad/s of rest below."""
    return np.array([np.pi, 0.0]) + rng.uniform(-0.3, 0.3, (n_episodes, 2))


def upright_picture():
    """The goal: a pendulum at rest above."""
    env = make_pendulum()
    env.reset()
    return torch.from_numpy(picture_of(env, (0.0, 0.0)))


def stands(states, n_last=20):
    """Whether a pendulum stood up: cos θ > 0.95 and |θ̇| < 1 rad/s in all of the last frames, (B,)."""
    theta, omega = states[:, -n_last:].unbind(dim=-1)
    return ((theta.cos() > 0.95) & (omega.abs() < 1)).all(dim=1)
