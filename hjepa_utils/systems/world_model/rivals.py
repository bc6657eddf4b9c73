"""Models of motion without an energy, trained and measured as ours is: what does the structure buy?

z = (q, p) is (…, D), actions are (…, n, A), a rollout is (…, n + 1, D). What a network sees are the
features of q, p / 4 and the action; what it says is in units in which ours learns: 4 rad/s for a velocity.
"""

import torch
from torch import nn

from ...dynamics.integrators import runge_kutta_4
from .networks import quiet_network

_SPEED, _FORCE = 4.0, 10.0  # usual sizes of p and of dp/dt


class _StepByStep(nn.Module):
    """What moves a state by one frame; subclasses say how in `step(z, action)`."""

    def step(self, z, action):
        raise NotImplementedError

    def rollout(self, z0, actions):
        """(…, D), (…, n, A) → (…, n + 1, D)."""
        states = [z0]
        for action in actions.unbind(dim=-2):
            states.append(self.step(states[-1], action))
        return torch.stack(states, dim=-2)


class _Network(_StepByStep):
    """One network of the state and the action, with two hidden layers."""

    def __init__(self, coordinates, n_coordinates, action_dim, n_out, *, dt, hidden):
        super().__init__()
        self.coordinates, self.dt = coordinates, dt
        width = (coordinates.n_features + 1) * n_coordinates + action_dim
        self.network = quiet_network(width, hidden, n_out, depth=2)

    def says(self, z, action):
        q, p = z.chunk(2, dim=-1)
        return self.network(torch.cat([self.coordinates.features(q), p / _SPEED, action], dim=-1))


class ResidualMLP(_Network):
    """z_{t+1} = z_t + f(z_t, u_t)."""

    def __init__(self, coordinates, n_coordinates, action_dim, *, dt, hidden=64):
        super().__init__(coordinates, n_coordinates, action_dim, 2 * n_coordinates, dt=dt, hidden=hidden)

    def step(self, z, action):
        by_q, by_p = self.says(z, action).chunk(2, dim=-1)
        return z + _SPEED * torch.cat([self.dt * by_q, by_p], dim=-1)


class DrivenODE(_Network):
    """A neural ODE, ż = f(z, u), u held over a frame, one step of the classical Runge–Kutta method."""

    def __init__(self, coordinates, n_coordinates, action_dim, *, dt, hidden=64):
        super().__init__(coordinates, n_coordinates, action_dim, 2 * n_coordinates, dt=dt, hidden=hidden)

    def step(self, z, action):
        return runge_kutta_4(lambda z: self._rates(z, action), z, self.dt)

    def _rates(self, z, action):
        by_q, by_p = self.says(z, action).chunk(2, dim=-1)
        return torch.cat([_SPEED * by_q, _FORCE * by_p], dim=-1)


class FreeForce(_Network):
    """Second order and no more: q̇ = p, ṗ = f(q, p, u) for any f, by symplectic Euler steps.

    The strongest rival: all that it lacks is an energy. Its step is the one by which Gymnasium itself moves
    its pendulum.
    """

    def __init__(self, coordinates, n_coordinates, action_dim, *, dt, hidden=64):
        super().__init__(coordinates, n_coordinates, action_dim, n_coordinates, dt=dt, hidden=hidden)

    def step(self, z, action):
        q, p = z.chunk(2, dim=-1)
        p = p + self.dt * _FORCE * self.says(z, action)
        return torch.cat([q + self.dt * p, p], dim=-1)


class DrivenGRU(nn.Module):
    """h_0 = tanh(W z_0), h_{t+1} = GRU(u_t, h_t), z_t read from h_t: what it remembers is its own affair.

    The cell is torch's (`nn.GRUCell`), written out so that many can be trained together.
    """

    def __init__(self, coordinates, n_coordinates, action_dim, *, hidden=64):
        super().__init__()
        self.coordinates, self.n_coordinates = coordinates, n_coordinates
        width = (coordinates.n_features + 1) * n_coordinates
        self.first, self.last = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.by_action, self.by_memory = nn.Linear(action_dim, 3 * hidden), nn.Linear(hidden, 3 * hidden)

    def rollout(self, z0, actions):
        q, p = z0.chunk(2, dim=-1)
        h = self.first(torch.cat([self.coordinates.features(q), p / _SPEED], dim=-1)).tanh()
        states = [z0]
        for pushed in self.by_action(actions).unbind(dim=-2):
            h = self._cell(pushed, h)
            states.append(self._read(h))
        return torch.stack(states, dim=-2)

    def _cell(self, pushed, h):
        reset, update, new = pushed.chunk(3, dim=-1)
        by_reset, by_update, by_new = self.by_memory(h).chunk(3, dim=-1)
        update = (update + by_update).sigmoid()
        new = (new + (reset + by_reset).sigmoid() * by_new).tanh()
        return new + update * (h - new)

    def _read(self, h):
        said = self.last(h)
        features, p = said.split([said.shape[-1] - self.n_coordinates, self.n_coordinates], dim=-1)
        return torch.cat([self.coordinates.from_features(features), _SPEED * p], dim=-1)


class Still(_StepByStep):
    """Persistence: nothing moves."""

    def step(self, z, action):
        return z
