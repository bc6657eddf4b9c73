"""Driven, damped Hamiltonian dynamics with a bounded residual, and the ledger of its energy.

    q̇ = ∂H/∂p,    ṗ = -∂H/∂q - γ(q, p) p + G u + r(q, p),    γ ≥ 0,  |r| < ρ

which is ż = (J - R)∇H + G u + r with R = diag(0, γ m): dissipation acts on momenta alone, and R is
positive by construction. The action u is held from frame to frame.
"""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import softplus

from ...dynamics.hamiltonian import check_state
from ...runs.checks import whole_number
from .networks import quiet_network


class Substep(NamedTuple):
    """The places and momenta that one sub-step passes through, and what pushed."""

    q: torch.Tensor  # after it
    momenta: tuple[torch.Tensor, ...]  # before it, after the kick, the damping, the damping, the kick
    residuals: tuple[torch.Tensor, torch.Tensor]  # r in both kicks
    force: torch.Tensor  # -∂H/∂q after it


class Ledger(NamedTuple):
    """H(t) - H(0) = work - dissipated + residual along a rollout: each (…, n + 1), the last three from 0.

    The equation holds to the error of the splitting, which does not grow; for the last three it is exact.
    """

    energy: torch.Tensor
    work: torch.Tensor  # ∫ q̇·G u dt
    dissipated: torch.Tensor  # ∫ q̇·γ p dt, never falls
    residual: torch.Tensor  # ∫ q̇·r dt

    @property
    def defect(self):
        """What the books do not explain: (…, n + 1)."""
        return self.energy - self.energy[..., :1] - self.work + self.dissipated - self.residual


class ControlledDynamics(nn.Module):
    """A separable `hamiltonian` with T quadratic, a `control`, a `damping` and, if given, a `residual`.

    `control` is a matrix G as `nn.Linear` without bias, or any module u → G u, (…, A) → (…, D/2);
    `damping` maps (q, p) to γ and `residual` to r, (…, D/2) each. `dt` is the time between two frames,
    cut into `substeps`, each a Strang splitting, second order in its length h:

        kick h/2 · exp(-γ h/2) · drift h · exp(-γ h/2) · kick h/2

    The damping is exact for γ held. Without damping, control and residual it is `leapfrog_step`.
    """

    def __init__(self, hamiltonian, control, damping, residual=None, *, dt, substeps=1):
        super().__init__()
        if not hamiltonian.separable:
            raise ValueError("the splitting needs H = T(p) + V(q), a Hamiltonian that declares `separable`")
        if whole_number(substeps, "substeps") < 1 or not dt > 0:
            raise ValueError(f"dt must be above 0 and substeps 1 or more, got {dt} and {substeps}")
        self.hamiltonian, self.control, self.damping, self.residual = hamiltonian, control, damping, residual
        self.dt, self.substeps = dt, substeps

    def rollout(self, z0, actions):
        """z0 (…, D), actions (…, n, A) → (…, n + 1, D)."""
        states = [z0]
        for substep, last in self._substeps(z0, actions):
            if last:
                states.append(torch.cat([substep.q, substep.momenta[-1]], dim=-1))
        return torch.stack(states, dim=-2)

    def ledger(self, z0, actions):
        """The `Ledger` of `rollout(z0, actions)`."""
        states, entries = [z0], []
        books = torch.zeros(*z0.shape[:-1], 3, dtype=z0.dtype, device=z0.device)
        entries.append(books)
        pushes = self.control(actions).unbind(dim=-2)
        for number, (substep, last) in enumerate(self._substeps(z0, actions)):
            books = books + self._entries(substep, pushes[number // self.substeps])
            if last:
                states.append(torch.cat([substep.q, substep.momenta[-1]], dim=-1))
                entries.append(books)
        energy = self.hamiltonian(torch.stack(states, dim=-2))
        return Ledger(energy, *torch.stack(entries, dim=-2).unbind(dim=-1))

    def residual_share(self, z):
        """|r| / |-∂H/∂q| in the mean over states (…, D); 0 without a residual."""
        if self.residual is None:
            return z.new_zeros(())
        force = self.hamiltonian.gradient_q(z).norm(dim=-1).mean()
        return self.residual(*z.chunk(2, dim=-1)).norm(dim=-1).mean() / force

    def _substeps(self, z0, actions):
        """Yield every `Substep` on the way, and whether it is the last before a frame."""
        q, p = check_state(z0).chunk(2, dim=-1)
        force = -self.hamiltonian.gradient_q(z0)
        for push in self.control(actions).unbind(dim=-2):
            for number in range(self.substeps):
                substep = self._substep(q, p, force, push)
                q, p, force = substep.q, substep.momenta[-1], substep.force
                yield substep, number + 1 == self.substeps

    def _substep(self, q, p, force, push):
        h = self.dt / self.substeps
        before = self._residual(q, p)
        kicked = p + h / 2 * (force + push + before)
        slowed = kicked * torch.exp(-h / 2 * self.damping(q, kicked))
        q, drifted = self._drift(q, slowed, h)
        again = drifted * torch.exp(-h / 2 * self.damping(q, drifted))
        force = -self.hamiltonian.gradient_q(torch.cat([q, again], dim=-1))
        after = self._residual(q, again)
        last = again + h / 2 * (force + push + after)
        return Substep(q, (p, kicked, slowed, again, last), (before, after), force)

    def _drift(self, q, p, h):
        """The flow of T over h; p stays unless V is such that it bounces."""
        return q + h * self.hamiltonian.gradient_p(torch.cat([q, p], dim=-1)), p

    def _residual(self, q, p):
        return torch.zeros_like(p) if self.residual is None else self.residual(q, p)

    def _entries(self, substep, push):
        """Work, dissipated and residual energy of one sub-step, (…, 3).

        A kick of p by F h/2 changes T by exactly v̄·F h/2, v̄ the mean of q̇ before and after it.
        """
        h, momenta = self.dt / self.substeps, substep.momenta
        velocity = [self._velocity(substep.q, p) for p in momenta]
        kinetic = [(p * v).sum(dim=-1) / 2 for p, v in zip(momenta, velocity, strict=True)]
        means = [(velocity[0] + velocity[1]) / 2, (velocity[3] + velocity[4]) / 2]
        work = h / 2 * sum((v * push).sum(dim=-1) for v in means)
        residual = h / 2 * sum((v * r).sum(dim=-1) for v, r in zip(means, substep.residuals, strict=True))
        dissipated = (kinetic[1] - kinetic[2]) + (kinetic[2] - kinetic[3])
        return torch.stack([work, dissipated, residual], dim=-1)

    def _velocity(self, q, p):
        return self.hamiltonian.gradient_p(torch.cat([q, p], dim=-1))


class ScaledLinear(nn.Linear):
    """A matrix G, learned as G / scale: a number of order 1 then takes as many steps as a network's.

    It starts at a tenth of `scale` in every entry, on no side of 0.
    """

    def __init__(self, n_in, n_out, scale=1.0):
        super().__init__(n_in, n_out, bias=False)
        self.scale = scale
        nn.init.constant_(self.weight, 0.1)

    @property
    def matrix(self):
        """G: (n_out, n_in)."""
        return self.scale * self.weight

    def forward(self, input):
        return super().forward(self.scale * input)


class ConstantDamping(nn.Module):
    """One γ ≥ 0 for all: γ = softplus(10 g), g learned."""

    def __init__(self, start=0.05):
        super().__init__()
        self.free = nn.Parameter(torch.tensor(start).expm1().log() / 10)

    @property
    def rate(self):
        """γ, in 1/s."""
        return softplus(10 * self.free)

    def forward(self, q, p):
        return self.rate.expand_as(p)


class NoDamping(nn.Module):
    """γ = 0."""

    def forward(self, q, p):
        return torch.zeros_like(p)


class StateDamping(nn.Module):
    """γ(q, p) = softplus(4 N(features of q, p² / 32)) ≥ 0, the same for all coordinates.

    Even in p, as friction is. It can be a limit on speed, which a constant cannot.
    """

    def __init__(self, coordinates, n_coordinates, hidden=32, start=-4.0):
        super().__init__()
        self.coordinates = coordinates
        width = (coordinates.n_features + 1) * n_coordinates
        self.network = quiet_network(width, hidden, 1, start)

    def forward(self, q, p):
        seen = torch.cat([self.coordinates.features(q), p.square() / 32], dim=-1)
        return softplus(4 * self.network(seen))


class BoundedResidual(nn.Module):
    """r(q, p) = ρ N / √(1 + |N|²): |r| < ρ whatever the network N says; it starts at 0.

    It does not see the action, or it would learn part of G.
    """

    def __init__(self, coordinates, n_coordinates, bound, hidden=32):
        super().__init__()
        if not bound > 0:
            raise ValueError(f"the residual's bound must be above 0, got {bound}: leave the residual out")
        self.coordinates, self.bound = coordinates, bound
        width = (coordinates.n_features + 1) * n_coordinates
        self.network = quiet_network(width, hidden, n_coordinates)

    def forward(self, q, p):
        said = self.network(torch.cat([self.coordinates.features(q), p / 4], dim=-1))
        return self.bound * said / (1 + said.square().sum(dim=-1, keepdim=True)).sqrt()
