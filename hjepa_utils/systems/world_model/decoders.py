"""From places and angles to pictures: learned templates, moved or turned by q, on a learned background.

What is drawn is fixed but for q, so the decoder decides what q means: a free network would accept any
bent copy of the coordinate.
"""

import torch
import torch.nn.functional as F
from torch import nn

from .grids import pixel_grid


class TurnedTemplate(nn.Module):
    """q (B, 1) → pictures (B, 3, 64, 64): one template, turned by q about a learned pivot."""

    grid: torch.Tensor

    def __init__(self, size=64, channels=3):
        super().__init__()
        self.template = nn.Parameter(0.01 * torch.randn(1, channels, size, size))
        self.background = nn.Parameter(torch.zeros(1, channels, size, size))
        self.pivot = nn.Parameter(torch.zeros(2))
        self.register_buffer("grid", pixel_grid(size), persistent=False)

    def forward(self, q):
        cos, sin = q[:, 0].cos(), q[:, 0].sin()
        turn = torch.stack([torch.stack([cos, sin], dim=-1), torch.stack([-sin, cos], dim=-1)], dim=-2)
        where = torch.einsum("bij,hwj->bhwi", turn, self.grid - self.pivot) + self.pivot
        template = self.template.expand(len(q), -1, -1, -1)
        return self.background + F.grid_sample(template, where, align_corners=False)


class FreeDecoder(nn.Module):
    """q (B, n) → pictures (B, 3, 64, 64) by any network of its features: q may then be bent.

    It is here to show that. What it draws is added to a learned background.
    """

    def __init__(self, coordinates, n_coordinates, channels=3):
        super().__init__()
        self.coordinates = coordinates
        self.background = nn.Parameter(torch.zeros(1, channels, 64, 64))
        self.network = nn.Sequential(
            nn.Linear(coordinates.n_features * n_coordinates, 64), nn.ReLU(),
            nn.Linear(64, 32 * 8 * 8), nn.ReLU(), nn.Unflatten(1, (32, 8, 8)),
            nn.Upsample(scale_factor=2), nn.Conv2d(32, 16, 3, 1, 1), nn.ReLU(),
            nn.Upsample(scale_factor=2), nn.Conv2d(16, 8, 3, 1, 1), nn.ReLU(),
            nn.Upsample(scale_factor=2), nn.Conv2d(8, channels, 3, 1, 1),
        )  # fmt: skip

    def forward(self, q):
        return self.background + self.network(self.coordinates.features(q))


class MovedTemplates(nn.Module):
    """q (B, 2 n_slots) → pictures (B, 3, 64, 64): a coloured template a slot, laid over each other at q."""

    grid: torch.Tensor

    def __init__(self, n_slots, size=64, template=32):
        super().__init__()
        self.n_slots = n_slots
        # A tenth of the logits: at one learning rate with the encoder they would stay grey.
        self.colour = nn.Parameter(0.01 * torch.randn(n_slots, 3, template, template))
        spot = 0.6 * torch.exp(-pixel_grid(template).square().sum(dim=-1) / (2 * 0.3**2)) - 0.4
        self.cover = nn.Parameter(spot.expand(n_slots, 1, template, template).clone())
        self.background = nn.Parameter(torch.zeros(1, 3, size, size))
        self.register_buffer("grid", pixel_grid(size), persistent=False)
        self.zoom = size / template

    def forward(self, q):
        places = q.unflatten(1, (self.n_slots, 2))
        cover = (10 * self.cover).sigmoid()
        painted = torch.cat([(10 * self.colour).sigmoid() * cover, cover], dim=1)
        picture = self.background
        for slot in range(self.n_slots):
            where = (self.grid - places[:, slot, None, None]) * self.zoom
            drawn = F.grid_sample(painted[slot].expand(len(q), -1, -1, -1), where, align_corners=False)
            picture = picture * (1 - drawn[:, 3:]) + drawn[:, :3]
        return picture
