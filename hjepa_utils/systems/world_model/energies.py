"""The energies of the worlds: H = Σ T(p) + Σ V(q) + Σ U(q_i, q_j), separable, gradients in closed form."""

import math

import torch
from torch import nn

from ...dynamics.hamiltonian import Hamiltonian, SoftplusNetwork, check_state
from .coordinates import Angle


class AngleEnergy(Hamiltonian):
    """H = |p|²/2 + c N(cos q, sin q) of angles q, N a softplus network with one hidden layer.

    A mass is no observable beside a free V, G and damping: p is then measured in units of it, so T has
    none. c = 10 sets the scale at which V is learned.
    """

    separable = True

    def __init__(self, n_angles=1, hidden=64, scale=10.0):
        super().__init__()
        self.n_angles, self.scale = n_angles, scale
        self.potential = SoftplusNetwork(2 * n_angles, (hidden,))

    def forward(self, z):
        q, p = check_state(z, 2 * self.n_angles).chunk(2, dim=-1)
        return p.square().sum(dim=-1) / 2 + self.scale * self.potential(Angle.features(q))

    def gradient(self, z):
        return torch.cat([self.gradient_q(z), self.gradient_p(z)], dim=-1)

    def gradient_q(self, z):
        cos, sin = Angle.features(check_state(z, 2 * self.n_angles)[..., : self.n_angles]).chunk(2, dim=-1)
        by_cos, by_sin = self.potential.gradient(torch.cat([cos, sin], dim=-1)).chunk(2, dim=-1)
        return self.scale * (by_sin * cos - by_cos * sin)

    def gradient_p(self, z):
        return z[..., self.n_angles :]


class ContactEnergy(Hamiltonian):
    """Bodies in a square box, and what they touch as stiff springs; z = (q₁ … q_N, p₁ … p_N), 4 N wide.

        T = |p|²/2,   V(q_i) = k_w/2 Σ relu(|q_i| - L)²,   U(q_i, q_j) = k_b/2 relu(D - |q_i - q_j|)²

    over the axes of q. L, half the box that centres move in, D, the distance at which two bodies
    touch, and both stiffnesses are learned: a smooth V cannot be a wall. Start L above and D below what
    they will be, or the other way round: either is found.
    """

    separable = True

    def __init__(self, n_bodies=2, wall=0.95, contact=0.2, stiffness=1500.0):
        super().__init__()
        self.n_bodies = n_bodies
        self.wall, self.contact = nn.Parameter(torch.tensor(wall)), nn.Parameter(torch.tensor(contact))
        # A fifth of the logarithm: one learning rate then fits all four numbers.
        self.log_stiffness = nn.Parameter(torch.full((2,), math.log(stiffness) / 5))

    @property
    def stiffness(self):
        """(k_w, k_b)."""
        return (5 * self.log_stiffness).exp()

    def forward(self, z):
        q, p = self._halves(z)
        k_wall, k_body = self.stiffness
        walls = torch.relu(q.abs() - self.wall).square().sum(dim=(-2, -1))
        bodies = torch.relu(self.contact - self._gaps(q)[1]).square().sum(dim=-1)
        return p.square().sum(dim=-1) / 2 + k_wall / 2 * walls + k_body / 2 * bodies

    def gradient(self, z):
        return torch.cat([self.gradient_q(z), self.gradient_p(z)], dim=-1)

    def gradient_q(self, z):
        q, _ = self._halves(z)
        k_wall, k_body = self.stiffness
        by_q = k_wall * torch.relu(q.abs() - self.wall) * q.sign()
        apart, length = self._gaps(q)
        pull = (-k_body * torch.relu(self.contact - length) / length)[..., None] * apart  # ∂U/∂q_j
        first, second = self._pairs()
        by_q = by_q.index_add(-2, second, pull).index_add(-2, first, -pull)
        return by_q.flatten(-2)

    def gradient_p(self, z):
        return z[..., 2 * self.n_bodies :]

    def _halves(self, z):
        q, p = check_state(z, 4 * self.n_bodies).chunk(2, dim=-1)
        return q.unflatten(-1, (self.n_bodies, 2)), p

    def _pairs(self):
        return torch.triu_indices(self.n_bodies, self.n_bodies, 1, device=self.wall.device)

    def _gaps(self, q):
        """q_j - q_i of all pairs (…, pairs, 2), and their lengths (…, pairs), never quite 0."""
        first, second = self._pairs()
        apart = q[..., second, :] - q[..., first, :]
        return apart, (apart.square().sum(dim=-1) + 1e-9).sqrt()
