"""What a step preserves: Jacobians by torch.func, the defect of MᵀJM = J, reversibility, order.

A symplectic map preserves the form dq ∧ dp, hence phase-space volume; a learned step has these
properties or not whatever its weights, so random ones in float64 show them as well as trained ones.
"""

from statistics import median
from typing import NamedTuple

import torch
from torch.func import jacrev

from .hamiltonian import Hamiltonian
from .integrators import repeat, rk4_step, rollout
from .step import as_step


class Defect(NamedTuple):
    """How far M is from symplectic: σ_max(MᵀJM - J), ‖MᵀJM - J‖ / ‖J‖ (Frobenius), log |det M|."""

    spectral: float
    relative: float
    log_volume: float


class RandomEnergy(Hamiltonian):
    """|z|²/2 + H(z) with a random float64 network of a given class (`HNN`, `SeparableHNN`): orbits stay
    near.

    Unlike the published initialisation, whose field is almost zero, it bends space at every z.
    """

    def __init__(self, kind, dim, *, seed, hidden_dims=(32, 32)):
        super().__init__()
        self.network, self.separable = kind(dim, hidden_dims).double(), kind.separable
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.network.parameters():
            torch.nn.init.normal_(parameter, std=0.4, generator=generator)

    def forward(self, z):
        return z.square().sum(dim=-1) / 2 + self.network(z)

    def gradient(self, z):
        return z + self.network.gradient(z)


def step_jacobian(step, hamiltonian, z, dt):
    """M = ∂z'/∂z of one step at z, (D,) → (D, D). Both copies of z make Tao's step (2 D, 2 D).

    By `torch.func.jacrev`; of an implicit step by the Jacobian that it brings along.
    """
    step = as_step(step)
    if step.jacobian:
        return step.jacobian(hamiltonian, z, dt)
    return jacrev(lambda z: step(hamiltonian, z, dt))(z)


def symplectic_form(dim, *, copies=1):
    """J = ((0, 1), (-1, 0)) for z = (q, p) of width `dim`, float64; one block for each of `copies` of z."""
    half = torch.eye(dim // 2, dtype=torch.float64)
    zero = torch.zeros_like(half)
    form = torch.cat([torch.cat([zero, half], dim=1), torch.cat([-half, zero], dim=1)])
    return torch.block_diag(*[form] * copies)


def symplectic_defect(jacobian, *, copies=1):
    """`Defect` of a Jacobian (D, D), computed in float64; `copies=2` for Tao's doubled space."""
    jacobian = jacobian.detach().double().cpu()
    form = symplectic_form(len(jacobian) // copies, copies=copies)
    difference = jacobian.T @ form @ jacobian - form
    return Defect(
        torch.linalg.matrix_norm(difference, 2).item(),
        (difference.norm() / form.norm()).item(),
        torch.linalg.slogdet(jacobian).logabsdet.item(),
    )


@torch.no_grad()
def forward_back_error(step, hamiltonian, z, dt, n_steps=1):
    """‖z_back - z‖ / ‖z_there - z‖ after n steps of dt and as many of -dt, averaged: (…, D) → float.

    0 for a reversible step. Tao's goes there and back with both its copies.
    """
    step = as_step(step)
    there = rollout(step, hamiltonian, z, dt, n_steps)[..., -1, :]
    if step.copies == 1:
        back = rollout(step, hamiltonian, there, -dt, n_steps)[..., -1, :]
    else:  # the copies have moved apart: all are the state
        state = torch.cat([z] * step.copies, dim=-1)
        for h in (dt, -dt):
            state = repeat(lambda s, h=h: step(hamiltonian, s, h), state, n_steps)[..., -1, :]
        back = state[..., : z.shape[-1]]
    return ((back - z).norm(dim=-1) / (there - z).norm(dim=-1)).mean().item()


@torch.no_grad()
def nearly_exact_end(hamiltonian, z, seconds, n_steps=1024):
    """Where z is after so many seconds, by RK4 in many steps: (…, D) → (…, D)."""
    return rollout(rk4_step, hamiltonian, z, seconds / n_steps, n_steps)[..., -1, :]


@torch.no_grad()
def convergence_order(step, hamiltonian, z, seconds, counts=(8, 16, 32, 64), *, exact=None):
    """The slope of log error against log h over a fixed time, by least squares: (…, D) → float.

    Errors at `counts` steps are against `exact`, (…, D), or else RK4 with 16 times the largest count.
    Those that are mostly rounding are left out; None if fewer than two remain.
    """
    if exact is None:
        exact = nearly_exact_end(hamiltonian, z, seconds, 16 * max(counts))
    ends = torch.stack([rollout(step, hamiltonian, z, seconds / n, n)[..., -1, :] for n in counts])
    errors = (ends - exact).flatten(1).norm(dim=1).double().cpu()
    seen = errors > 1e3 * torch.finfo(z.dtype).eps * exact.norm().item()
    if seen.sum() < 2:
        return None
    x, y = -torch.tensor(counts, dtype=torch.float64).log()[seen], errors.log()[seen]
    return (((x - x.mean()) * y).sum() / (x - x.mean()).square().sum()).item()


def step_properties(step, hamiltonian, points, dt, *, exact=None):
    """Defect, way back and order of one step, for points (n, D) in float64: {name: float}.

    `exact` is `nearly_exact_end(hamiltonian, points, 2 * dt)`, for steps that share it: most of the time
    goes into that.

    Defects are medians over the points, forward–back is a mean, the order one slope for all.
    Tao's step has the defects of its doubled space.
    """
    step = as_step(step)
    copies = step.copies
    jacobians = (step_jacobian(step, hamiltonian, point.repeat(copies), dt) for point in points)
    defects = [symplectic_defect(jacobian, copies=copies) for jacobian in jacobians]
    spectral, relative, log_volume = map(median, zip(*defects, strict=True))
    return {
        "spectral": spectral,
        "relative": relative,
        "log |det M|": log_volume,
        "forward–back": forward_back_error(step, hamiltonian, points, dt),
        "order": convergence_order(step, hamiltonian, points, 2 * dt, exact=exact),
    }


@torch.no_grad()
def energy_error(step, hamiltonian, z, dt, n_steps):
    """Largest |H(z_t) - H(z_0)| up to every step, averaged over starts: (…, D) → (n_steps + 1,)."""
    energies = hamiltonian(rollout(step, hamiltonian, z, dt, n_steps)).reshape(-1, n_steps + 1)
    return (energies - energies[:, :1]).abs().cummax(dim=1).values.mean(dim=0)
