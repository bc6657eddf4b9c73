"""What no picture can tell: the sign and the zero of an angle. Found from true states, to measure by."""

import math
from typing import NamedTuple

import torch

from .coordinates import Angle


class AngleGauge(NamedTuple):
    """q ≈ sign · θ + offset; `error`: the rms of what is left, in rad; `winding`: turns of q in one of θ."""

    sign: int
    offset: float
    error: float
    winding: float

    def true_states(self, z):
        """z = (q, p), (…, 2) → (θ, θ̇), (…, 2), as the world counts them."""
        q, p = z.chunk(2, dim=-1)
        return torch.cat([self.sign * (q - self.offset), self.sign * p], dim=-1)

    def model_states(self, states):
        """The way back: (θ, θ̇) → (q, p)."""
        theta, omega = states.chunk(2, dim=-1)
        return torch.cat([self.sign * theta + self.offset, self.sign * omega], dim=-1)


def fit_gauge(q, theta):
    """The sign and offset under which angles q (…) fit the true θ (…) best."""
    q, theta = q.double().flatten(), theta.double().flatten()
    best = min((_offset(q, theta, sign) for sign in (1, -1)), key=lambda fit: fit[2])
    return AngleGauge(*best, _winding(q, theta))


def _offset(q, theta, sign):
    apart = q - sign * theta
    offset = torch.atan2(apart.sin().mean(), apart.cos().mean())
    return sign, offset.item(), Angle.difference(offset, apart).square().mean().sqrt().item()


def _winding(q, theta):
    """How often q goes round while θ does once."""
    along = q[torch.remainder(theta, 2 * math.pi).argsort()]
    return Angle.difference(along, along.roll(-1)).sum().item() / (2 * math.pi)
