"""What the pendulum's model is measured by: against true states, which training never sees."""

from typing import NamedTuple

import torch
from torch.func import jacrev, vmap

from .coordinates import Angle
from .pendulum import DT, true_energy, true_rollout


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
    first = torch.stack([theta[:, 0], Angle.difference(theta[:, 0], theta[:, 1]) / DT], dim=-1)

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


def frames_within(errors, limit=0.3):
    """How many frames a rollout's error stays within `limit`: (n, horizon + 1) → (n,), at most horizon."""
    beyond = (errors > limit).int()
    first = beyond.argmax(dim=1) - 1
    return torch.where(beyond.any(dim=1), first.clamp_min(0), errors.shape[1] - 1)


@torch.no_grad()
def pixel_errors(model, gauge, predicted, frames, starts, ahead):
    """MSE of the pictures predicted `ahead` frames from `starts`, pixels in [0, 1]: (n · starts,)."""
    drawn = model.decode(gauge.model_states(predicted[:, ahead]).float())
    true = torch.cat([frames[:, t + ahead] for t in starts])
    return (drawn.float() / 255 - true.float() / 255).square().flatten(1).mean(dim=1)


def energy_drifts(path):
    """Largest change of the true energy along paths without torque, (n, T + 1, 2) → (n,), of 30.

    θ̇ is the backward difference of θ, as the simulator has it; 30 lies between rest below and upright.
    A path that leaves the finite numbers drifts infinitely far.
    """
    theta = path[..., 0].double()
    omega = Angle.difference(theta[:, :-1], theta[:, 1:]) / DT
    energy = true_energy(torch.stack([theta[:, 1:], omega], dim=-1))
    return ((energy - energy[:, :1]).abs().amax(dim=1) / 30).nan_to_num(nan=torch.inf, posinf=torch.inf)


@torch.no_grad()
def damping_read(dynamics, gauge, slow=6.0, fast=8.0):
    """The learned γ, 1/s: its median over all angles and speeds below `slow`, and at `fast`, the clip."""
    theta = torch.linspace(-torch.pi, torch.pi, 61)[:-1]
    speeds = torch.linspace(-slow, slow, 49), torch.tensor([-fast, fast])
    states = [gauge.model_states(torch.cartesian_prod(theta, speed)) for speed in speeds]
    return tuple(dynamics.damping(*z.chunk(2, dim=-1)).median().item() for z in states)


class PhaseSpaceFit(NamedTuple):
    """A smooth map from learned (q, p) to true (θ, θ̇), and whether it is symplectic up to a scale."""

    r2: float  # of θ̇, on states that were not fitted to
    angle_error: float  # rms of θ there, rad
    scale: float  # the mean determinant of the map's Jacobian
    distortion: float  # rms of determinant / scale - 1: with one degree of freedom 0 is symplectic


def phase_space_fit(z, states, gauge):
    """Fit the map to one half of states, (n, 2) each, and look at it on the other.

    It adds to the gauge's (θ, θ̇) a product of a Fourier series in q and a cubic in p, 20 terms for each
    (after SyMetric: Higgins et al., arXiv:2111.05986).
    """
    z, true = z.double(), states.double()
    first = gauge.true_states(z)
    left = torch.stack([Angle.difference(first[:, 0], true[:, 0]), true[:, 1] - first[:, 1]], dim=-1)
    fitted, seen = slice(0, None, 2), slice(1, None, 2)
    weights = torch.linalg.lstsq(_terms(z[fitted]), left[fitted]).solution

    def mapped(z):
        return gauge.true_states(z) + _terms(z) @ weights

    off = left[seen] - _terms(z[seen]) @ weights
    r2 = 1 - off[:, 1].square().sum() / (true[seen, 1] - true[seen, 1].mean()).square().sum()
    area = torch.linalg.det(vmap(jacrev(mapped))(z[seen]))
    scale = area.mean()
    distortion = (area / scale - 1).square().mean().sqrt()
    return PhaseSpaceFit(r2.item(), off[:, 0].square().mean().sqrt().item(), scale.item(), distortion.item())


def _terms(z):
    q, p = z[..., :1], z[..., 1:] / 8
    waves = torch.cat([torch.ones_like(q), q.cos(), q.sin(), (2 * q).cos(), (2 * q).sin()], dim=-1)
    powers = torch.cat([torch.ones_like(p), p, p.square(), p.pow(3)], dim=-1)
    return (waves[..., :, None] * powers[..., None, :]).flatten(-2)
