"""Pendulum-v1 of Gymnasium, seen through its own pictures.

A rod of 1 m and 1 kg with g = 10 m/s² turns about its end: θ̈ = 15 sin θ + 3 u, θ = 0 upright, |u| ≤ 2.
Its energy is θ̇²/2 + 15 cos θ, in units of the moment of inertia. Three things about it are easy to miss:

- After the first step `render` draws an arrow of the last torque, and a picture is then not a function
  of θ alone. It is taken out here: `last_u` is forgotten before every picture.
- Speeds are clipped at 8 rad/s, which every full turn meets at the bottom: the clip acts as a damping
  that depends on where the rod is and how fast it turns.
- It moves by symplectic Euler steps of 0.05 s, whose own energy drifts; its θ̇ is the backward
  difference of θ.
"""

import os

import cv2
import numpy as np
import torch

from ...runs.checks import check_between
from .episodes import FRAME, FRAMES_PER_SECOND, Episodes, check_sizes, draw_actions, imported

DT = 1 / FRAMES_PER_SECOND
MAX_TORQUE, MAX_SPEED = 2.0, 8.0


def make_pendulum():
    """The environment, without its limit on time and drawing no window."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame asks for a screen even to draw in memory
    gymnasium = imported("gymnasium")
    imported("pygame")
    return gymnasium.make("Pendulum-v1", render_mode="rgb_array").unwrapped


def picture(env):
    """What the environment shows now, without the torque's arrow: uint8 (3, 64, 64)."""
    env.last_u = None
    small = cv2.resize(env.render(), (FRAME, FRAME), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small.transpose(2, 0, 1))


def picture_of(env, state):
    """What it would show in another state (θ, θ̇), such as a goal: uint8 (3, 64, 64)."""
    kept, env.state = env.state, np.asarray(state, dtype=float)
    shown = picture(env)
    env.state = kept
    return shown


def start(env, state):
    """Put it into a state (θ, θ̇)."""
    env.reset()
    env.state = np.asarray(state, dtype=float)


def record_pendulum(
    n_episodes,
    n_frames=100,
    *,
    rng,
    speed=1.0,
    around=0.0,
    spread=np.pi,
    friction=0.0,
    length=1.0,
    mass=1.0,
    draw=draw_actions,
):
    """Episodes from random starts; states are (θ, θ̇), θ not wrapped.

    θ starts uniformly within `spread` of `around`, θ̇ within ± `speed` rad/s; `draw` draws the torques.
    `friction` γ, which Pendulum-v1 itself has not, takes the share 1 - e^{-γ dt} of θ̇ after every step.
    A rod of another `length` (m) or `mass` (kg) looks the same: θ̈ = 15 sin θ / length + 3 u / (mass
    length²). Raises `ValueError` for fewer than one episode or two frames and a length or mass outside
    0.01 to 100, `ImportError` where gymnasium or pygame are missing.
    """
    check_sizes(n_episodes, n_frames, rng)
    check_between(0.01, 100, length=length, mass=mass)
    env = make_pendulum()
    env.l, env.m = length, mass
    actions = draw(n_episodes, n_frames - 1, 1, MAX_TORQUE, rng=rng)
    frames = np.empty((n_episodes, n_frames, 3, FRAME, FRAME), dtype=np.uint8)
    states = np.empty((n_episodes, n_frames, 2))
    for episode in range(n_episodes):
        start(env, (around + rng.uniform(-spread, spread), rng.uniform(-speed, speed)))
        for t in range(n_frames):
            frames[episode, t], states[episode, t] = picture(env), env.state
            if t + 1 < n_frames:
                env.step(actions[episode, t])
                env.state[1] *= np.exp(-friction * DT)
    return Episodes(torch.from_numpy(frames), torch.from_numpy(actions), torch.from_numpy(states))


def true_step(states, actions):
    """Its own law: states (…, 2) under torques (…, 1), one frame later."""
    theta, omega = states[..., 0], states[..., 1]
    omega = (omega + DT * (15 * theta.sin() + 3 * actions[..., 0])).clamp(-MAX_SPEED, MAX_SPEED)
    return torch.stack([theta + DT * omega, omega], dim=-1)


def true_rollout(states, actions):
    """(…, 2), (…, n, 1) → (…, n + 1, 2)."""
    path = [states]
    for action in actions.unbind(dim=-2):
        path.append(true_step(path[-1], action))
    return torch.stack(path, dim=-2)


def true_energy(states):
    """θ̇²/2 + 15 cos θ: (…, 2) → (…); between -15, at rest below, and 15, at rest upright."""
    return states[..., 1] ** 2 / 2 + 15 * states[..., 0].cos()
