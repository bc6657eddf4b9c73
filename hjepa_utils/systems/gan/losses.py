"""The losses of the three GANs, and HGN's balance of two.

Real videos are told from generated ones by cross-entropy with a one-sided label of 0.9, as MoCoGAN does.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


def cross_entropy(logits, label):
    """Binary cross-entropy of logits (B,) with one label in 0 … 1 for all."""
    return F.binary_cross_entropy_with_logits(logits.float(), torch.full_like(logits, label).float())


def r1_penalty(discriminator, real):
    """E |∂D/∂x|² over real samples (B, …), differentiable: R1 adds γ/2 of it (Mescheder et al., 2018)."""
    real = real.detach().requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return slope.flatten(1).square().sum(dim=1).mean()


def cyclic_loss(rates):
    """Σ|ṗ_i| over times and coordinates, averaged over videos: (B, T, D/2) → () (the paper's eq. 4 by λ).

    It asks for momenta that stay, so for coordinates that H does not depend on.
    """
    return rates.abs().flatten(1).sum(dim=1).mean()


def divergence(mean, log_variance):
    """KL of N(mean, e^log_variance) from N(0, 1), summed over the latents, averaged over videos: in nats."""
    return ((mean.square() + log_variance.exp() - 1 - log_variance) / 2).flatten(1).sum(dim=1).mean()


class Geco(nn.Module):
    """λ in λ (E - tolerance²) + KL that makes the error E meet the tolerance (Rezende & Viola, 2018).

    `forward(error)` gives λ C, where C has the gradient of this batch's constraint and the value of its
    running mean, and moves λ by e^(rate C) of that mean; λ stays in 1e-10 … 1e10.
    """

    running: torch.Tensor
    log_weight: torch.Tensor
    started: torch.Tensor

    def __init__(self, tolerance, *, decay=0.99, rate=0.1):
        super().__init__()
        self.tolerance, self.decay, self.rate = float(tolerance), float(decay), float(rate)
        for name in ("running", "log_weight", "started"):
            self.register_buffer(name, torch.zeros(()))

    @property
    def weight(self):
        """λ."""
        return self.log_weight.exp()

    def forward(self, error):
        constraint = error - self.tolerance**2
        with torch.no_grad():
            decay = self.decay * self.started  # the first mean is the first value
            self.running.mul_(decay).add_((1 - decay) * constraint)
            self.started.fill_(1.0)
        loss = self.weight.clone() * (constraint + (self.running - constraint).detach())
        bound = 10 * math.log(10)
        self.log_weight.add_(self.rate * self.running).clamp_(-bound, bound)
        return loss
