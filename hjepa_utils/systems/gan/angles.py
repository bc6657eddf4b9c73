"""A Hamiltonian GAN in action-angle variables.

The cyclic loss asks for an H that depends on momenta alone. Then p stays, and q runs on at a constant rate,
out of what the generator has learned to paint. Here the same is built in, and q comes back: it is an angle θ
with an action J (Goldstein, Classical Mechanics, ch. 10). As θ₀ is spread evenly over the circle, states are
spread at every later time as they are at the first.
"""

import math
from typing import Any

import torch
from torch import nn

from ...dynamics.hamiltonian import SoftplusNetwork
from ...dynamics.integrators import in_own_precision
from ...simulators.checks import check_positive
from .model import VideoGAN
from .motion import ConfigurationMap, check_frames, start_weights
from .networks import PictureGenerator, with_float_counts


class AngleMotion(nn.Module):
    """θₜ = θ₀ + t ∂H/∂J, and J stays: z = (θ, J), θ in radians and not taken back to 0 … 2π.

    This solves Hamilton's equations of H(J) = ΣJ + network(J) exactly, for any time between frames. The first
    term says which way a fresh θ turns: by about a quarter in 16 frames. Half of the noise gives θ₀, spread
    evenly; J = start(the other half), at mean 0 and deviation 1 over the batch.
    """

    def __init__(self, motion_dim=2, *, frame_time=math.pi / 32):
        super().__init__()
        check_positive(frame_time=frame_time)
        n, self.frame_time = motion_dim // 2, float(frame_time)
        self.start, self.normalise = ConfigurationMap(n), nn.BatchNorm1d(n, affine=False)
        self.hamiltonian = SoftplusNetwork(n, (100, 100))
        start_weights(self.hamiltonian)

    @in_own_precision
    def forward(self, noise, n_frames, speed=1.0):
        angle, other = noise.chunk(2, dim=-1)
        action = self.normalise(self.start(other))[:, None].expand(-1, check_frames(n_frames), -1)
        rate = 1 + self.hamiltonian.gradient(action[:, :1])
        at = speed * self.frame_time * torch.arange(n_frames, device=noise.device)
        angle = 2 * math.pi * torch.special.ndtr(angle)[:, None] + rate * at[:, None]
        return torch.cat([angle, action], dim=-1)

    @in_own_precision
    def energy(self, states):
        """The learned H: (…, D) → (…)."""
        action = states.chunk(2, dim=-1)[1]
        return action.sum(dim=-1) + self.hamiltonian(action)


class AngleGAN(VideoGAN):
    """HGAN with an `AngleMotion`: pictures are of (cos θ, sin θ, J). Arguments as for `VideoGAN`."""

    def __init__(self, *, motion_dim=2, content_dim=8, channels=32, frame_time=math.pi / 32):
        sizes: dict[str, Any] = {"motion_dim": motion_dim, "content_dim": content_dim, "channels": channels}
        super().__init__(**sizes)
        self._config = sizes | {"frame_time": frame_time}
        self.motion = AngleMotion(motion_dim, frame_time=frame_time)
        self.pictures = PictureGenerator(3 * motion_dim // 2 + content_dim, channels)
        with_float_counts(self)

    def imagine(self, noise, n_frames, speed=1.0):
        moving, content = noise.split([self.motion_dim, self.noise_dim - self.motion_dim], dim=-1)
        states = self.motion(moving, n_frames, speed)
        angle, action = states.chunk(2, dim=-1)
        content = content[:, None].expand(-1, n_frames, -1)
        return self.pictures(torch.cat([angle.cos(), angle.sin(), action, content], dim=-1)), states
