"""Pushed balls: the collection's billiard at 64 × 64 pixels, with a force on one ball and drag."""

import math
from itertools import combinations
from typing import Any

import cv2
import numpy as np
import torch

from ...simulators.billiards import render_frames, simulate_collisions
from ...simulators.pushed import push_balls
from .episodes import FRAME, FRAMES_PER_SECOND, MISSING, Episodes, check_sizes, draw_actions

try:
    import gymnasium
    from gymnasium import spaces
except ImportError as error:
    raise ImportError(MISSING.format("gymnasium")) from error

ARENA, RADIUS = 256.0, 20.0  # px, as in notebook 1
HALF = ARENA / 2  # px: the unit of length of states and actions here
DRAG = 0.3  # 1/s
PUSH = 3.0  # half-widths of the arena per s², of an action of 1; 384 px/s²
SPEEDS = (50.0, 130.0)  # px/s


class PushedBalls(gymnasium.Env):
    """Balls in a box, elastic against each other and the walls; the action pushes the first one.

    Observations are pictures, uint8 (64, 64, 3); actions (2,) within ± 1, in units of `PUSH`, held
    for 1/20 s. `state` (n_balls, 4) and `goal` (n_balls, 2) are true places, half-widths from the middle, x
    right and y down, and velocities. The reward is less the pushed ball's squared way to its goal,
    and episodes end only by a limit on time, the 200 steps
    of `gymnasium.make("PushedBalls-v0")`. `reset(options={"state": …, "goal": …})` sets either.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": FRAMES_PER_SECOND}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None, n_balls: int = 2, one_colour: bool = False):
        if not 2 <= n_balls <= 3:
            raise ValueError(f"there are 2 or 3 balls, got n_balls {n_balls}")
        self.render_mode, self.n_balls, self.one_colour = render_mode, n_balls, one_colour
        self.observation_space = spaces.Box(0, 255, (FRAME, FRAME, 3), np.uint8)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.state, self.goal = np.zeros((n_balls, 4)), np.zeros((n_balls, 2))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        options = options or {}
        self.state = np.asarray(options.get("state", self._random_state()), dtype=np.float64).copy()
        self.goal = np.asarray(options.get("goal", self._random_state()[:, :2]), dtype=np.float64).copy()
        return self._picture(), self._info()

    def step(self, action):
        push = np.asarray(action, dtype=np.float64)
        if push.shape != (2,) or not np.isfinite(push).all() or np.abs(push).max() > 1 + 1e-6:
            raise ValueError(f"an action is 2 finite numbers within ± 1, got {push.tolist()}")
        self.state = moved(self.state, push)
        reward = -float(np.square(self.state[0, :2] - self.goal[0]).sum())
        return self._picture(), reward, False, False, self._info()

    def render(self):
        return self._picture() if self.render_mode == "rgb_array" else None

    def _random_state(self):
        masses = (1.0,) * self.n_balls
        start = simulate_collisions(
            1, rng=self.np_random, size=ARENA, radius=RADIUS, masses=masses, speeds=SPEEDS
        )
        return _from_pixels(start[0])

    def _info(self):
        return {"state": self.state.copy(), "goal": self.goal.copy()}

    def _picture(self):
        return draw_balls(self.state[None], one_colour=self.one_colour)[0]


def moved(state, push):
    """A state (n_balls, 4) a frame later, under an action (2,)."""
    forces = np.zeros((len(state), 2))
    forces[0] = HALF * PUSH * push
    later = push_balls(_to_pixels(state), 1 / FRAMES_PER_SECOND, forces, drag=DRAG, radius=RADIUS)
    return _from_pixels(later)


def draw_balls(states, *, one_colour=False):
    """Pictures of states (n, n_balls, ≥ 2): uint8 (n, 64, 64, 3)."""
    pixels = _to_pixels(np.concatenate([states[..., :2], np.zeros_like(states[..., :2])], axis=-1))
    frames = render_frames(pixels, radius=RADIUS)
    if one_colour:
        frames = np.repeat(frames.max(axis=-1, keepdims=True), 3, axis=-1)
    return np.stack([cv2.resize(frame, (FRAME, FRAME), interpolation=cv2.INTER_AREA) for frame in frames])


def record_balls(n_episodes, n_frames=100, *, rng, n_balls=2, one_colour=False):
    """Episodes from random starts under `draw_actions`; states are `PushedBalls.state`.

    Raises `ValueError` for fewer than one episode or two frames.
    """
    check_sizes(n_episodes, n_frames, rng)
    env = PushedBalls(n_balls=n_balls, one_colour=one_colour)
    actions = draw_actions(n_episodes, n_frames - 1, 2, 1.0, rng=rng)
    frames = np.empty((n_episodes, n_frames, FRAME, FRAME, 3), dtype=np.uint8)
    states = np.empty((n_episodes, n_frames, n_balls, 4))
    for episode in range(n_episodes):
        frames[episode, 0], _ = env.reset(seed=int(rng.integers(2**31)))
        states[episode, 0] = env.state
        for t, action in enumerate(actions[episode], start=1):
            frames[episode, t], *_ = env.step(action)
            states[episode, t] = env.state
    shown = torch.from_numpy(frames).permute(0, 1, 4, 2, 3).contiguous()
    return Episodes(shown, torch.from_numpy(actions), torch.from_numpy(states))


def true_rollout(states, actions):
    """The world's own law: states (B, n_balls, 4), actions (B, n, 2) → float64 (B, n + 1, n_balls, 4).

    Balls that overlap, or stick into a wall, by what a model errs are first moved apart.
    """
    states, actions = np.asarray(states, dtype=np.float64), np.asarray(actions, dtype=np.float64)
    paths = np.empty((len(states), actions.shape[1] + 1, *states.shape[1:]))
    for path, start, pushes in zip(paths, states, actions, strict=True):
        path[0] = _apart(start)
        for t, push in enumerate(pushes, start=1):
            path[t] = moved(path[t - 1], push)
    return torch.from_numpy(paths)


def contacts(states, actions):
    """In which frames something was touched: (n, T, n_balls, 4), (n, T - 1, 2) → bool (n, T - 1).

    Where the velocity at the end is not that of a push and drag alone.
    """
    v, held = states[..., 2:], torch.zeros_like(states[:, :-1, :, 2:])
    held[:, :, 0] = PUSH * actions / DRAG  # what the velocity tends to
    alone = held + (v[:, :-1] - held) * math.exp(-DRAG / FRAMES_PER_SECOND)
    return ((v[:, 1:] - alone).abs() > 1e-6).any(dim=-1).any(dim=-1)


def _apart(state, gap=1e-6):
    """A state nearby in which nothing overlaps."""
    state, room = state.copy(), 1 - RADIUS / HALF - gap
    for _ in range(20):
        state[:, :2] = state[:, :2].clip(-room, room)
        for a, b in combinations(range(len(state)), 2):
            way = state[b, :2] - state[a, :2]
            lack = 2 * RADIUS / HALF + gap - np.linalg.norm(way)
            if lack > 0:
                shift = lack * way / (np.linalg.norm(way) + 1e-12)
                state[[a, b], :2] += 0.5 * np.stack([-shift, shift])
    return state


def _to_pixels(states):
    scale, shift = HALF, np.array([HALF, HALF, 0.0, 0.0])
    return scale * states + shift


def _from_pixels(states):
    return (states - np.array([HALF, HALF, 0.0, 0.0])) / HALF


gymnasium.register("PushedBalls-v0", f"{__name__}:PushedBalls", max_episode_steps=200)
