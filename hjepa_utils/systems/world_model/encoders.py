"""From pictures to phase space: where a slot looks gives q, how q changes gives p."""

import torch
import torch.nn.functional as F
from torch import nn

from .grids import pixel_grid
from .networks import quiet_network


class TurnEncoder(nn.Module):
    """One picture → one angle: a small convolutional net whose two outputs are read as a direction.

    float pictures (B, 3, 64, 64), 0 where there is nothing, → q (B, 1). The net ends on the circle, so
    that no angle is far from its neighbour.
    """

    def __init__(self, channels=3):
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(channels, 16, 5, 2, 2), nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(32, 32, 3, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * 8 * 8, 64), nn.ReLU(), nn.Linear(64, 2),
        )  # fmt: skip

    def forward(self, pictures):
        direction = self.network(pictures)
        return torch.atan2(direction[:, 1:], direction[:, :1])


class SlotEncoder(nn.Module):
    """One picture → the places of `n_slots` bodies, q (B, 2 n_slots), x then y, in [-1, 1].

    float pictures (B, 3, 64, 64), 0 where there is nothing. Slots compete for every pixel (a softmax
    over slots), weighted by how far it differs from the background; a body is where its slot's share
    has its centre of mass. Without the competition two slots find the same body.
    """

    grid: torch.Tensor

    def __init__(self, n_slots, hidden=16):
        super().__init__()
        if n_slots < 1:
            raise ValueError(f"an encoder needs one slot or more, got {n_slots}")
        last = nn.Conv2d(hidden, n_slots, 1)
        nn.init.normal_(last.weight, 0, 0.5)
        self.network = nn.Sequential(
            nn.Conv2d(3, hidden, 5, 2, 2), nn.ReLU(), nn.Conv2d(hidden, hidden, 3, 1, 1), nn.ReLU(), last
        )
        self.register_buffer("grid", pixel_grid(32).flatten(0, 1), persistent=False)

    def forward(self, pictures):
        there = F.avg_pool2d(pictures.abs().sum(dim=1, keepdim=True), 2)
        share = (self.network(pictures).softmax(dim=1) * there).flatten(2) + 1e-6
        return (share / share.sum(dim=-1, keepdim=True) @ self.grid).flatten(1)


class MomentumHead(nn.Module):
    """p of the last of K pictures, from how q went and what pushed: q (B, K, n), u (B, K - 1, A) → (B, n).

        p = Σ_k w_k Δq_k / dt + (matrix) u [+ a small tanh network of all of these and the last q]

    It starts as the last difference alone. `scale` is the usual size of p, `hidden` the width of the
    network, 0 for none.
    """

    def __init__(self, coordinates, n_coordinates, action_dim, *, n_frames, dt, hidden=32, scale=4.0):
        super().__init__()
        self.coordinates, self.n_frames, self.action_dim = coordinates, n_frames, action_dim
        self.dt, self.scale = dt, scale
        self.weight = nn.Parameter(torch.eye(n_frames - 1)[-1].clone())
        self.push = nn.Linear((n_frames - 1) * action_dim, n_coordinates, bias=False)
        nn.init.zeros_(self.push.weight)
        width = (n_frames - 1) * (n_coordinates + action_dim) + coordinates.n_features * n_coordinates
        self.network = quiet_network(width, hidden, n_coordinates) if hidden else None

    def forward(self, q, actions):
        rates = self.coordinates.difference(q[:, :-1], q[:, 1:]) / self.dt
        p = torch.einsum("bkn,k->bn", rates, self.weight) + self.push(actions.flatten(1))
        if self.network is None:
            return p
        last = self.coordinates.features(q[:, -1])
        return p + self.network(torch.cat([(rates / self.scale).flatten(1), actions.flatten(1), last], dim=1))
