"""When within a step an action acts: a model that has it wrong sees every push half a step too late."""

import torch
from torch import nn

from .dynamics import ControlledDynamics


class TimedDynamics(ControlledDynamics):
    """`ControlledDynamics` that also learns when within a sub-step the action acts.

    Of G u h the share σ comes with the kick before the drift, 1 - σ with that after it. σ = 1/2 is an action
    held over the step, to second order; σ = 1 one that acts before anything moves, as where a world steps
    by symplectic Euler, Pendulum-v1 for one. A residual sees the momentum with that shift.
    """

    def __init__(self, *parts, **settings):
        super().__init__(*parts, **settings)
        self.lead = nn.Parameter(torch.zeros(()))

    @property
    def share(self):
        """σ; it starts at 1/2."""
        return 0.5 + 3 * self.lead  # a number of order 1, learned as fast as a network

    def _substep(self, q, p, force, push):
        shift = self._shift(push)
        substep = super()._substep(q, p + shift, force, push)
        return substep._replace(momenta=(p, *substep.momenta[1:4], substep.momenta[4] - shift))

    def _entries(self, substep, push):
        velocity = [self._velocity(substep.q, p) for p in substep.momenta]
        earlier = (velocity[0] + velocity[1] - velocity[3] - velocity[4]) / 2
        work = (earlier * self._shift(push)).sum(dim=-1, keepdim=True)
        return super()._entries(substep, push) + torch.cat([work, 0 * work, 0 * work], dim=-1)

    def _shift(self, push):
        return self.dt / self.substeps * (self.share - 0.5) * push
