"""What a world hands on: pictures, the actions between them, and the true states, for measuring alone."""

from importlib import import_module
from typing import NamedTuple

import numpy as np
import torch

from ...runs.checks import whole_number

FRAME = 64  # pixels a side of every world's pictures
FRAMES_PER_SECOND = 20
MISSING = "this world needs {}, which is not installed: pip install gymnasium pygame"


class Episodes(NamedTuple):
    """Episodes of T pictures each; action t is held from picture t to picture t + 1."""

    frames: torch.Tensor  # uint8 (n, T, 3, 64, 64)
    actions: torch.Tensor  # float32 (n, T - 1, A)
    states: torch.Tensor  # float64 (n, T, …), as the world gives them

    def some(self, chosen):
        """Some of the episodes, by a slice or a list of numbers."""
        return Episodes(*(tensor[chosen] for tensor in self))


def draw_actions(n_episodes, n_steps, action_dim, bound, *, rng):
    """Actions to explore with: float32 (n_episodes, n_steps, action_dim), none beyond ± bound.

    Of four episodes two push smoothly, an Ornstein–Uhlenbeck process with a memory of 5 to 30 steps and
    a deviation of ¾ bound, clipped; one draws each action anew, uniformly; one lets go.
    """
    actions = np.zeros((n_episodes, n_steps, action_dim))
    for episode, mine in enumerate(actions):
        if episode % 4 < 2:
            mine[:] = 0.75 * bound * _smooth(n_steps, action_dim, rng)
        elif episode % 4 == 2:
            mine[:] = rng.uniform(-bound, bound, mine.shape)
    return np.clip(actions, -bound, bound).astype(np.float32)


def draw_full_actions(n_episodes, n_steps, action_dim, bound, *, rng):
    """The same with the largest action always, held to one side for 5 to 30 steps, then to the other."""
    actions = np.empty((n_episodes, n_steps, action_dim), dtype=np.float32)
    for episode in range(n_episodes):
        for axis in range(action_dim):
            lengths = rng.integers(5, 31, size=n_steps)
            sides = rng.choice([-1.0, 1.0]) * (-1.0) ** np.arange(n_steps)
            actions[episode, :, axis] = bound * np.repeat(sides, lengths)[:n_steps]
    return actions


def _smooth(n_steps, action_dim, rng):
    memory, x = rng.uniform(5, 30), rng.normal(size=action_dim)
    path = np.empty((n_steps, action_dim))
    for t in range(n_steps):
        x = x - x / memory + np.sqrt(2 / memory) * rng.normal(size=action_dim)
        path[t] = x
    return path


def check_sizes(n_episodes, n_frames, rng):
    """`ValueError` or `TypeError` for what no episode can be recorded with."""
    for name, value, least in (("n_episodes", n_episodes, 1), ("n_frames", n_frames, 2)):
        if whole_number(value, name) < least:
            raise ValueError(f"{name} must be {least} or more, got {value}")
    if not isinstance(rng, np.random.Generator):
        raise ValueError(
            f"rng must be a numpy.random.Generator, got {rng!r:.60}: use numpy.random.default_rng"
        )


def imported(name):
    """A package that only a world needs; `ImportError` with what to do where it is missing."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(MISSING.format(name)) from error
