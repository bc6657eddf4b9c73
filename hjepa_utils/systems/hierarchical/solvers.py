"""The model for the planners of stable-worldmodel, through that library's own protocol."""

import torch
from torch import nn

from .plans import event_cost
from .world import checked_bodies


class GoalCost(nn.Module):
    """What candidate actions cost: how far from the goal's deep latent an event ends.

    For `stable_worldmodel.solver`, such as `CEMSolver(GoalCost(model), …)`, in the environment
    `PushedBodies`: `info` are its observations, each with an axis of candidates after the first, and
    actions are in units of the largest force, on the `controlled` bodies. Solvers that know no bounds
    draw beyond ± 1; what is beyond counts as ± 1, so clip what they return. Raises `ValueError` for
    controlled bodies that there are not.
    """

    def __init__(self, model, controlled=(0, 1, 2)):
        super().__init__()
        self.model, self.controlled = model, checked_bodies(controlled, model.n_bodies)

    def get_cost(self, info_dict, action_candidates):
        """(B, S, horizon, D) → (B, S), D the numbers of an action or of a block of several.

        `info_dict` has "positions" and "goal" (B, S, 16, N, 2), px, and "masses" (B, S, N), the same for
        all candidates of a problem. The actions of a candidate share an event's frames evenly. Raises
        `ValueError` where they cannot, and for other shapes.
        """
        action_candidates = self._checked(action_candidates, info_dict)
        n_problems, n_candidates, horizon, width = action_candidates.shape
        n_numbers = 2 * len(self.controlled)
        if width % n_numbers:
            raise ValueError(f"an action has {n_numbers} numbers, got {width} a step of the horizon")
        n_actions = horizon * width // n_numbers
        if not n_actions or self.model.event % n_actions:
            raise ValueError(
                f"the {self.model.event} frames of an event must be a multiple of the actions, "
                f"got {n_actions}"
            )
        block = self.model.event // n_actions
        blocks = action_candidates.reshape(n_problems, n_candidates, n_actions, len(self.controlled), 2)
        deep, goal = (self._deep(info_dict, name) for name in ("positions", "goal"))
        cost = event_cost(self.model, deep, goal, self.controlled, block)
        return cost(self.model.force * blocks.clamp(-1, 1))

    def criterion(self, info_dict, action_candidates):
        """The same."""
        return self.get_cost(info_dict, action_candidates)

    def _checked(self, actions, info):
        """The actions as a float32 tensor."""
        missing = [name for name in ("positions", "masses", "goal") if name not in info]
        if missing:
            raise ValueError(f"info must have positions, masses and goal, there is no {missing[0]}")
        actions = torch.as_tensor(actions)
        shape, n_problems = tuple(actions.shape), len(info["masses"])
        if actions.ndim != 4 or len(actions) != n_problems:
            raise ValueError(f"actions must be (B, S, horizon, D), here B = {n_problems}, got {shape}")
        return actions.float()

    def _deep(self, info, name):
        window, masses = (torch.as_tensor(info[key])[:, 0] for key in (name, "masses"))
        return self.model.encode(window, masses)[1]
