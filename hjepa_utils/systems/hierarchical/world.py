"""Three bodies of unequal masses in a box, pushed: sequences to learn from, and problems to plan.

Our choices, since only the abstract of the paper is public (Patil, "Micro-World Models", Zenodo 2026):
the box, the masses, the forces and the lengths of windows. What is seen are places and masses.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch

from ...runs.checks import whole_number
from ...simulators.bodies import UNIT_RADIUS, advance_bodies, simulate_bodies
from ...simulators.checks import as_floats, check_count, check_generator, is_number

SIZE, FPS = 256.0, 30  # px, frames a second
N_BODIES, MASSES = 3, (0.5, 2.0)  # masses are uniform between them, radii 14 to 28 px
SPEED = 60.0  # px/s, the deviation of each velocity component at the start
FORCE = 450.0  # px/s² times the unit of mass: the largest component of a force
WINDOW, EVENT, BLOCK = 16, 25, 5  # frames: seen, ahead, and how long a force is held
IDLE = 0.3  # how often a body is left alone for a whole sequence
_MAX_ROUNDS = 30  # of 2 n starts, until n are found that are not solved already


class Sequences(NamedTuple):
    """n sequences of T frames; force t is held from frame t to frame t + 1."""

    states: torch.Tensor  # float64 (n, T, N, 4): x, y in px, vx, vy in px/s
    masses: torch.Tensor  # float32 (n, N)
    forces: torch.Tensor  # float32 (n, T - 1, N, 2)

    @property
    def positions(self):
        """What a model sees: float32 (n, T, N, 2), px."""
        return self.states[..., :2].float()

    def some(self, chosen):
        """Some of the sequences, by a slice or a list of numbers."""
        return Sequences(*(tensor[chosen] for tensor in self))


class Problems(NamedTuple):
    """B problems: from what was seen, push the controlled bodies to where unseen forces took them."""

    states: torch.Tensor  # float64 (B, 16, N, 4): the last of them is now
    masses: torch.Tensor  # float32 (B, N)
    goals: torch.Tensor  # float64 (B, 16, N, 4): the last of them is the goal
    forces: torch.Tensor  # float32 (B, 25, N, 2): that lead there
    controlled: tuple[int, ...]

    @property
    def radii(self):
        """(B, N): how near to its goal a body must come, which is its own radius."""
        return UNIT_RADIUS * self.masses.double().sqrt()

    def some(self, chosen):
        """Some of the problems, by a slice or a list of numbers."""
        states, masses, goals, forces = (tensor[chosen] for tensor in self[:4])
        return Problems(states, masses, goals, forces, self.controlled)


def draw_forces(n, n_frames, *, rng, n_bodies=N_BODIES, force=FORCE, idle=IDLE):
    """float64 (n, n_frames, n_bodies, 2): uniform in a square, each held for `BLOCK` frames.

    A body is left alone for a whole sequence with the probability `idle`.
    """
    check_generator(rng)
    check_count(n=n, n_bodies=n_bodies)
    if not is_number(force) or not (is_number(idle) and idle <= 1):
        raise ValueError(f"force must be 0 or more, and idle from 0 to 1, got {force!r} and {idle!r}")
    blocks = rng.uniform(-force, force, (n, -(-n_frames // BLOCK), n_bodies, 2))
    blocks *= rng.random((n, 1, n_bodies, 1)) >= idle
    return np.repeat(blocks, BLOCK, axis=1)[:, :n_frames]


def draw_sequences(
    n, n_frames=WINDOW + EVENT, *, rng, n_bodies=N_BODIES, masses=MASSES, speed=SPEED, force=FORCE, idle=IDLE
):
    """`Sequences` from random starts under `draw_forces`; the same `rng` gives the same ones."""
    check_generator(rng)
    check_count(n_sequences=n, n_frames=n_frames, n_bodies=n_bodies)
    low_and_high = as_floats(masses, "masses")
    if low_and_high.shape != (2,) or not 0 < low_and_high[0] <= low_and_high[1]:
        raise ValueError(f"masses must be the least and the largest, both above 0, got {masses!r}")
    weights = rng.uniform(*masses, (n, n_bodies)).astype(np.float32)
    forces = draw_forces(n, n_frames - 1, rng=rng, n_bodies=n_bodies, force=force, idle=idle)
    forces = forces.astype(np.float32)
    states = simulate_bodies(n, n_frames, rng=rng, masses=weights, forces=forces, speed=speed)
    return Sequences(*map(torch.from_numpy, (states, weights, forces)))


def draw_problems(n, *, rng, controlled=(0, 1, 2), force=FORCE, **world):
    """n `Problems` whose goals are reached by unseen forces on the controlled bodies alone.

    Starts that are solved already, every controlled body within its radius of its goal, are left out.
    `force` bounds the components of the forces, px/s² times the unit of mass; `world` are the arguments
    `n_bodies`, `masses`, `speed` and `idle` of `draw_sequences`. Raises `ValueError` for numbers that do
    not fit, bodies that there are not, and worlds in which nearly every start is solved.
    """
    check_generator(rng)
    n_bodies = world.get("n_bodies", N_BODIES)
    check_count(n=n, n_bodies=n_bodies)
    if not is_number(force):
        raise ValueError(f"force must be finite and not negative, a number, got {force!r}")
    controlled = checked_bodies(controlled, n_bodies)
    found, n_found = [], 0
    for _ in range(_MAX_ROUNDS):
        past = draw_sequences(2 * n, WINDOW, rng=rng, force=force, **world)
        forces = draw_forces(2 * n, EVENT, rng=rng, n_bodies=n_bodies, force=force, idle=0.0)
        others = [body for body in range(n_bodies) if body not in controlled]
        forces[:, :, others] = 0.0
        forces = torch.from_numpy(forces.astype(np.float32))
        states = move(past.states[:, -1], past.masses, forces)
        goals = torch.cat([past.states, states[:, 1:]], dim=1)[:, -WINDOW:]
        drawn = Problems(past.states, past.masses, goals, forces, controlled)
        found.append(drawn.some(~solved(drawn.states[:, -1], drawn)))
        n_found += len(found[-1].masses)
        if n_found >= n:
            break
    else:
        raise ValueError(
            f"only {n_found} of {2 * n * _MAX_ROUNDS:,} starts are not solved already, {n} are needed: "
            f"take a larger force or speed, got {force} and {world.get('speed', SPEED)}"
        )
    parts = zip(*(problems[:4] for problems in found), strict=True)
    states, masses, goals, forces = (torch.cat(part)[:n] for part in parts)
    return Problems(states, masses, goals, forces, controlled)


def solved(states, problems):
    """Whether every controlled body is within its radius of its goal: (B, …, N, 4) → bool (B, …)."""
    return (ways(states, problems) <= _beside(problems.radii[:, list(problems.controlled)], states)).all(
        dim=-1
    )


def ways(states, problems):
    """How far each controlled body is from its goal, px: (B, …, N, 4) → (B, …, n_controlled)."""
    goal = problems.goals[:, -1, :, :2]
    goal = goal.reshape(len(goal), *[1] * (states.ndim - 3), *goal.shape[1:])
    return (states[..., :2] - goal).norm(dim=-1)[..., list(problems.controlled)]


def _beside(radii, states):
    return radii.reshape(len(radii), *[1] * (states.ndim - 3), -1)


def move(states, masses, forces):
    """The true world: float64 (B, N, 4), (B, N), (B, n, N, 2) → float64 (B, n + 1, N, 4)."""
    return torch.from_numpy(
        advance_bodies(states.numpy(), masses.double().numpy(), forces.double().numpy(), fps=FPS, size=SIZE)
    )


def checked_bodies(controlled, n_bodies):
    """The numbers of controlled bodies as a tuple, in the order given.

    Raises `TypeError` for anything but a list of whole numbers, `ValueError` for others than
    0 … n_bodies - 1, for one twice, and for none.
    """
    if isinstance(controlled, str) or not isinstance(controlled, Iterable):
        raise TypeError(f"controlled bodies must be a list of their numbers, got {controlled!r}")
    controlled = tuple(controlled)
    if any(isinstance(body, bool) for body in controlled):
        raise TypeError(f"controlled bodies must be a list of their numbers, no mask, got {controlled}")
    bodies = tuple(whole_number(body, "a controlled body") for body in controlled)
    if not bodies or len(set(bodies)) < len(bodies) or not all(0 <= body < n_bodies for body in bodies):
        raise ValueError(
            f"controlled bodies must be different ones of 0 … {n_bodies - 1}, at least one, got {bodies}"
        )
    return bodies
