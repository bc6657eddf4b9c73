"""The world as an environment of Gymnasium, for planners and agents that are not ours."""

import reprlib
from typing import Any

import numpy as np
import torch

from ...simulators.billiards import render_frames
from ...simulators.checks import as_floats
from .world import (
    EVENT,
    FORCE,
    FPS,
    MASSES,
    N_BODIES,
    SIZE,
    WINDOW,
    Problems,
    checked_bodies,
    draw_problems,
    move,
    solved,
    ways,
)

try:
    import gymnasium
    from gymnasium import spaces
except ImportError as error:
    raise ImportError("this world needs gymnasium, which is not installed: pip install gymnasium") from error


class PushedBodies(gymnasium.Env):
    """Three bodies of unequal masses in a box; the action pushes the controlled ones towards their goals.

    Observations are what a `HierarchicalJEPA` sees: "positions", the last 16 frames (16, 3, 2) in px, with
    "masses" (3,), and "goal", the window (16, 3, 2) that ends at the goal. Actions (n_controlled, 2) within
    ± 1, in units of the largest force, are held for 1/30 s. The reward is less the controlled bodies' mean
    way to their goals, in widths of the box; `info["is_success"]` says whether each is within its radius.
    An episode ends by its limit on time alone, the 25 frames of `gymnasium.make("PushedBodies-v0")`: it is
    solved if that holds then. `reset(options={"problem": …})` sets the first of some `Problems`; other
    options are a `ValueError`, and so is an action of another shape, not finite, or beyond ± 1.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": FPS}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None, controlled: tuple[int, ...] = (0, 1, 2)):
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")
        self.render_mode, self.controlled = render_mode, checked_bodies(controlled, N_BODIES)
        self._states: torch.Tensor | None = None
        window = spaces.Box(0.0, SIZE, (WINDOW, N_BODIES, 2), np.float32)
        masses = spaces.Box(*MASSES, (N_BODIES,), np.float32)
        self.observation_space = spaces.Dict({"positions": window, "masses": masses, "goal": window})
        self.action_space = spaces.Box(-1.0, 1.0, (len(self.controlled), 2), np.float32)

    @property
    def states(self) -> torch.Tensor:
        """The last 16 frames, (1, 16, 3, 4), px and px/s; `ResetNeeded` before an episode has begun."""
        if self._states is None:
            raise gymnasium.error.ResetNeeded("no episode has begun: call reset() first")
        return self._states

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        options = {} if options is None else options
        if not isinstance(options, dict) or not options.keys() <= {"problem"}:
            raise ValueError(f"options may be {{'problem': …}} alone, got {reprlib.repr(options)}")
        problem = options.get("problem")
        if problem is None:
            problem = draw_problems(1, rng=self.np_random, controlled=self.controlled)
        self.problem = self._checked(problem).some(slice(1))
        self._states = self.problem.states
        return self._seen(), self._info()

    def step(self, action):
        states = self.states
        push, wanted = as_floats(action, "an action"), (len(self.controlled), 2)
        if push.shape != wanted or not np.isfinite(push).all() or np.abs(push).max() > 1 + 1e-6:
            got = reprlib.repr(push.tolist())
            raise ValueError(f"an action is {wanted} finite numbers within ± 1, got {got}")
        forces = torch.zeros(1, 1, N_BODIES, 2, dtype=torch.float64)
        forces[0, 0, list(self.controlled)] = FORCE * torch.from_numpy(push)
        moved = move(states[:, -1], self.problem.masses, forces)
        self._states = torch.cat([states[:, 1:], moved[:, 1:]], dim=1)
        left = ways(moved[:, -1], self.problem).mean().item()
        return self._seen(), -left / SIZE, False, False, self._info()

    def render(self):
        """The bodies, bright, and where they should be, dim: uint8 (256, 256, 3)."""
        now = self.states[0, -1:]
        return draw_pursuit(now, self.problem)[0] if self.render_mode == "rgb_array" else None

    def _checked(self, problem):
        if not isinstance(problem, Problems):
            raise TypeError(f"a problem must be `Problems`, as `draw_problems` gives, got {type(problem)}")
        if not len(problem.masses) or problem.masses.shape[1] != N_BODIES:
            raise ValueError(
                f"there must be a problem, and of {N_BODIES} bodies; got masses of the shape "
                f"{tuple(problem.masses.shape)}"
            )
        if problem.controlled != self.controlled:
            raise ValueError(
                f"this environment controls the bodies {self.controlled}, the problem {problem.controlled}"
            )
        return problem

    def _seen(self):
        seen = {
            "positions": self.states[0, ..., :2],
            "masses": self.problem.masses[0],
            "goal": self.problem.goals[0, ..., :2],
        }
        return {name: np.array(part.numpy(), dtype=np.float32) for name, part in seen.items()}

    def _info(self):
        now = self.states[:, -1]
        return {"state": now[0].numpy().copy(), "is_success": bool(solved(now, self.problem)[0])}


def draw_pursuit(states, problem):
    """Pictures of one problem's states (n, N, 4), px, its goals as dim ghosts: uint8 (n, 256, 256, 3).

    Raises `ValueError` for more than one problem.
    """
    if len(problem.masses) != 1:
        raise ValueError(f"one problem can be drawn, got {len(problem.masses)}: take `problems.some([k])`")
    radii = problem.radii[0].numpy()
    goals = problem.goals[0, -1:].clone()
    others = [body for body in range(len(radii)) if body not in problem.controlled]
    goals[:, others, :2] = -SIZE  # outside the picture: they may be anywhere
    frames, ghosts = (render_frames(drawn.numpy(), radius=radii) for drawn in (states, goals))
    return np.maximum(frames, ghosts // 3)


gymnasium.register("PushedBodies-v0", f"{__name__}:PushedBodies", max_episode_steps=EVENT)
