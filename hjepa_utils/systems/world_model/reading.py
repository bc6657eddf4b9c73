"""Momenta from how places went: the state whose own path goes through what was seen.

A difference of places tells no momentum across a contact. The dynamics themselves can: of the frames
K - n … K, the longest row is taken that one path explains, and the path is continued to the last frame.
"""

import torch

from .encoders import MomentumHead

UNEXPLAINED = 0.01  # what a frame that is left out costs, as if a path missed it by so much
_STEP = 1e-3  # of differences in place of derivatives


@torch.no_grad()
def read_momenta(dynamics, q, actions, *, dt, n_rounds=3):
    """p at the last of K frames dt apart, from places (B, K, n) and the actions (B, K - 1, A): (B, n).

    From every frame but the last a path is laid through all that follow, by Gauss–Newton over its start;
    that of the least Σ |miss|² over frames, with `UNEXPLAINED`² for each frame before its start, is kept.
    `dynamics` is any module with `rollout(z0, actions)` in which the rate of q is p.
    """
    found, costs = [], []
    for start in range(q.shape[1] - 1):
        seen, u = q[:, start:], actions[:, start:]
        path, cost = _laid_through(dynamics, seen, u, dt, n_rounds)
        found.append(path[:, -1].chunk(2, dim=-1)[1])
        costs.append(cost + start * UNEXPLAINED**2)
    best = torch.stack(costs).argmin(dim=0)
    return torch.stack(found)[best, torch.arange(len(q))]


def _laid_through(dynamics, seen, u, dt, n_rounds):
    """The path of least misfit to places (B, T, n) that is found, (B, T, 2 n), and Σ |miss|² (B,)."""
    n = seen.shape[-1]
    z = torch.cat([seen[:, 0], (seen[:, 1] - seen[:, 0]) / dt], dim=-1)
    path, cost = _miss(dynamics, z, seen, u)
    steps = _STEP * torch.eye(2 * n, dtype=z.dtype)
    for _ in range(n_rounds):
        beside = (z + steps[:, None]).flatten(0, 1)
        around = dynamics.rollout(beside, u.repeat(2 * n, 1, 1))[..., :n].unflatten(0, (2 * n, len(z)))
        slope = ((around - path[..., :n]) / _STEP).flatten(2).permute(1, 2, 0)  # (B, T n, 2 n)
        miss = (path[..., :n] - seen).flatten(1)[..., None]
        normal = slope.mT @ slope + 1e-6 * torch.eye(2 * n, dtype=z.dtype)
        moved = z - torch.linalg.solve(normal, slope.mT @ miss)[..., 0]
        new_path, new_cost = _miss(dynamics, moved, seen, u)
        better = new_cost < cost
        z, path = torch.where(better[:, None], moved, z), torch.where(better[:, None, None], new_path, path)
        cost = torch.where(better, new_cost, cost)
    return path, cost


def _miss(dynamics, z, seen, u):
    path = dynamics.rollout(z, u)
    return path, (path[..., : seen.shape[-1]] - seen).square().sum(dim=(-2, -1))


class PathMomentum(MomentumHead):
    """A `MomentumHead` while it is trained, with gradients; in `eval` mode `read_momenta` of the dynamics.

    Training needs a first guess that is cheap and may be wrong across a contact; prediction does not.
    """

    def __init__(self, dynamics, *args, **settings):
        super().__init__(*args, **settings)
        self._dynamics = (dynamics,)  # in a tuple: its parameters are the model's, not this module's

    def forward(self, q, actions):
        if self.training:
            return super().forward(q, actions)
        return read_momenta(self._dynamics[0], q, actions, dt=self.dt)
