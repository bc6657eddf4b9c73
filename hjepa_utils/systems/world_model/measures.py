"""What the pendulum's model is measured by: against true states, which training never sees."""

from typing import NamedTuple

import torch

from .coordinates import Angle
from .pendulum import true_energy, true_rollout


class EnergyFit(NamedTuple):
    """The learned energy against the true one on a grid of states: H ≈ scale · E + shift."""

    r2: float
    scale: float
    push: float  # G in true units, sign of the gauge removed; 3 in Pendulum-v1
    force_error: float  # rms of -∂H/∂q against 15 sin θ, relative to the latter's rms


def windows_ahead(places, actions, n_frames, horizon, starts):
    """Contexts that end at `starts`, (n · starts, K, n_q), and actions (n · starts, K - 1 + horizon, A)."""
    q = torch.cat([places[:, t + 1 - n_frames : t + 1] for t in starts])
    u = torch.cat([actions[:, t + 1 - n_frames : t + horizon] for t in starts])
    return q, u


@torch.no_grad()
def predicted_states(dynamics, momentum, gauge, places, actions, starts, horizon):
    """Rollouts as the world counts states: (n · starts, horizon + 1, 2)."""
    q, u = windows_ahead(places, actions, momentum.n_frames, horizon, starts)
    p = momentum(q, u[:, : momentum.n_frames - 1])
    z0 = torch.cat([q[:, -1], p], dim=-1)
    return gauge.true_states(dynamics.rollout(z0, u[:, momentum.n_frames - 1 :]))


def angle_errors(predicted, states, starts):
    """|Δθ| of rollouts against true states: (n · starts, horizon + 1), rad."""
    true = torch.cat([states[:, t : t + predicted.shape[1]] for t in starts])
    return Angle.difference(true[..., 0].to(predicted), predicted[..., 0]).abs()


@torch.no_grad()
def energy_fit(dynamics, gauge, speed=8.0):
    """The learned energy and control against the true ones, over all angles and speeds up to `speed`."""
    theta, omega = torch.linspace(-torch.pi, torch.pi, 61)[:-1], torch.linspace(-speed, speed, 41)
    states = torch.cartesian_prod(theta, omega)
    z = gauge.model_states(states)
    learned, true = dynamics.hamiltonian(z).double(), true_energy(states).double()
    design = torch.stack([true, torch.ones_like(true)], dim=-1)
    fit = torch.linalg.lstsq(design, learned[:, None]).solution
    left = (learned - (design @ fit)[:, 0]).square().sum() / (learned - learned.mean()).square().sum()
    force = -gauge.sign * dynamics.hamiltonian.gradient_q(z)[:, 0]
    truth = 15 * states[:, 0].sin()
    apart = (force - truth).square().mean().sqrt() / truth.square().mean().sqrt()
    push = gauge.sign * dynamics.control(torch.ones(1, 1)).item()
    return EnergyFit(1 - left.item(), fit[0].item(), push, apart.item())


def ceiling(places, actions, gauge, starts, horizon, n_frames=8):
    """The true law from the encoded state, by least squares over `n_frames`: (n · starts, horizon + 1, 2).

    No model can be asked for more: what is missing here is missing in what the encoder says.
    """
    q, u = windows_ahead(places, actions, n_frames, horizon, starts)
    theta = gauge.true_states(torch.cat([q, q], dim=-1).double())[..., 0]
    u = u.double()
    first = torch.stack([theta[:, 0], Angle.difference(theta[:, 0], theta[:, 1]) / 0.05], dim=-1)

    def misfit(first):
        path = true_rollout(first, u[:, : n_frames - 1])[..., 0]
        return Angle.difference(theta, path)

    for _ in range(5):  # Gauss–Newton, differences in place of derivatives
        here = misfit(first)
        steps = 1e-4 * torch.eye(2, dtype=first.dtype)
        slope = torch.stack([(misfit(first + step) - here) / 1e-4 for step in steps], dim=-1)
        first = first - torch.linalg.lstsq(slope, here[..., None]).solution[..., 0]
    start = true_rollout(first, u[:, : n_frames - 1])[:, -1]
    return true_rollout(start, u[:, n_frames - 1 :])
