"""An interaction network that is driven: bodies and pairs, no energy. `rivals` has what knows neither."""

import torch
from torch import nn


class DrivenInteraction(nn.Module):
    """s_i ← s_i + dt f(s_i, u, i, Σ_{j≠i} g(s_i, s_j)) for s_i = (q_i, p_i): one f and one g for all.

    After Battaglia et al., 2016; the number i, one of N, lets f know whom u pushes. `rollout`:
    z0 (…, 4 N) with z = (q₁ … q_N, p₁ … p_N), actions (…, n, A) → (…, n + 1, 4 N).
    """

    def __init__(self, n_bodies, action_dim, *, dt, width=96):
        super().__init__()
        self.n_bodies, self.dt = n_bodies, dt
        self.pair = _layers(8, width, width)
        self.body = _layers(4 + action_dim + n_bodies + width, width, 4)

    def rollout(self, z0, actions):
        states = [z0]
        for u in actions.unbind(dim=-2):
            states.append(self.step(states[-1], u))
        return torch.stack(states, dim=-2)

    def step(self, z, u):
        """A frame: (…, 4 N), (…, A) → (…, 4 N)."""
        n, states = self.n_bodies, z.unflatten(-1, (2, self.n_bodies, 2)).transpose(-3, -2).flatten(-2)
        shape = (*states.shape[:-2], n, n, 4)
        pairs = [states[..., :, None, :].expand(shape), states[..., None, :, :].expand(shape)]
        who = torch.eye(n, dtype=z.dtype, device=z.device)
        effect = (self.pair(torch.cat(pairs, dim=-1)) * (1 - who)[..., None]).sum(dim=-2)
        pushed = u[..., None, :].expand(*states.shape[:-1], -1)
        told = [states, pushed, who.expand(*states.shape[:-1], n), effect]
        states = states + self.dt * self.body(torch.cat(told, dim=-1))
        return states.unflatten(-1, (2, 2)).transpose(-3, -2).flatten(-3)


def _layers(n_in, width, n_out):
    return nn.Sequential(
        nn.Linear(n_in, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, n_out)
    )  # fmt: skip
