"""A Transformer over frames, and the two predictors: a step ahead, and one event."""

import torch
from torch import nn


class Block(nn.Module):
    """Pre-norm attention over the past and an MLP: (B, T, width) → (B, T, width).

    A frame sees itself and the `band - 1` frames before it. Times enter only as lags, a learned bias
    each: a step predictor that had learned the places in a window would be lost beyond its end.
    """

    def __init__(self, width, heads, band, mlp=2):
        super().__init__()
        if width % heads:
            raise ValueError(f"width must be a multiple of heads, got {width} and {heads}")
        self.heads, self.band = heads, band
        self.lags = nn.Parameter(torch.zeros(heads, band))
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, mlp * width), nn.GELU(), nn.Linear(mlp * width, width))

    def forward(self, x):
        x = x + self.out(self._attend(self.before_attention(x)))
        return x + self.mlp(self.before_mlp(x))

    def _attend(self, x):
        """Written out: the fused attention's backward pass in bf16 is 20 times slower on a CPU."""
        n, length, width = x.shape
        shape = (n, length, 3, self.heads, width // self.heads)
        q, k, v = self.qkv(x).reshape(shape).permute(2, 0, 3, 1, 4)
        times = torch.arange(length, device=x.device)
        lag = times[:, None] - times
        hidden = (lag < 0) | (lag >= self.band)
        bias = self.lags[:, lag.clamp(0, self.band - 1)].masked_fill(hidden, -torch.inf)
        scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5 + bias
        return (scores.softmax(dim=-1).to(v.dtype) @ v).transpose(1, 2).reshape(n, length, width)


class Residual(nn.Module):
    """x + MLP(LayerNorm(x))."""

    def __init__(self, width, hidden):
        super().__init__()
        self.network = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)
        )

    def forward(self, x):
        return x + self.network(x)


class StepPredictor(nn.Module):
    """Where a shallow latent goes in one frame: z (…, width), force (…, n_forces) → (…, width)."""

    def __init__(self, width, n_forces, hidden=512, n_layers=2):
        super().__init__()
        layers = [Residual(hidden, 2 * hidden) for _ in range(n_layers)]
        self.network = nn.Sequential(nn.Linear(width + n_forces, hidden), *layers, nn.Linear(hidden, width))

    def forward(self, z, force):
        return z + self.network(torch.cat([z, force], dim=-1))


class EventPredictor(nn.Module):
    """Where a deep latent goes in one event, under the forces of all its frames at once.

    z (…, width), forces (…, n_frames, n_forces) → (…, width). Time is dilated: one application for all
    frames, without a roll-out.
    """

    def __init__(self, width, n_frames, n_forces, hidden=512, n_layers=4):
        super().__init__()
        layers = [Residual(hidden, 2 * hidden) for _ in range(n_layers)]
        self.forces = nn.Sequential(nn.Linear(n_frames * n_forces, width), nn.GELU(), nn.Linear(width, width))
        self.network = nn.Sequential(nn.Linear(2 * width, hidden), *layers, nn.Linear(hidden, width))

    def forward(self, z, forces):
        return z + self.network(torch.cat([z, self.forces(forces.flatten(-2))], dim=-1))


class InverseDynamics(nn.Module):
    """Which force led from one latent to the next: twice (…, width) → (…, n_forces). For training alone."""

    def __init__(self, width, n_forces):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, n_forces))

    def forward(self, before, after):
        return self.network(torch.cat([before, after], dim=-1))
