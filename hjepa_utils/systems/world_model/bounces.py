"""Bodies that touch as hard things do: V and U are 0, and infinite beyond a wall or below a distance.

Such an energy has no gradient to kick with, but its flow between two contacts is a straight line, and a
contact mirrors the momenta: the drift of the splitting does both exactly, where a stiff spring needs
many short sub-steps and lets a body in, the deeper the faster it is.
"""

import torch
from torch import nn

from ...dynamics.hamiltonian import Hamiltonian, check_state
from ...runs.checks import whole_number
from .dynamics import ControlledDynamics


class HardBodies(Hamiltonian):
    """H = |p|²/2 in the box |q_i| ≤ L with |q_i - q_j| ≥ D; z = (q₁ … q_N, p₁ … p_N), 4 N wide.

    L, half the box that centres move in, and D, the distance at which two bodies touch, are learned:
    where a body turns back says where it was turned. Start L above and D below what they will be, or
    the other way round. All masses are 1. `drift` meets at most `n_contacts` in one call; what is left
    of its time is flown straight, and the next call meets what was missed.
    """

    separable = True
    between: torch.Tensor

    def __init__(self, n_bodies=2, wall=0.95, contact=0.2, n_contacts=2):
        super().__init__()
        if whole_number(n_bodies, "n_bodies") < 1:
            raise ValueError(f"there must be one body or more, got {n_bodies}")
        self.n_bodies, self.n_contacts = n_bodies, n_contacts
        self.wall, self.contact = nn.Parameter(torch.tensor(wall)), nn.Parameter(torch.tensor(contact))
        first, second = torch.triu_indices(n_bodies, n_bodies, 1)
        bodies = torch.eye(n_bodies)  # one product with this takes all differences, q_j - q_i
        between = torch.kron(bodies[second] - bodies[first], torch.eye(2))
        self.register_buffer("between", between, persistent=False)

    def forward(self, z):
        return check_state(z, 4 * self.n_bodies)[..., 2 * self.n_bodies :].square().sum(dim=-1) / 2

    def gradient(self, z):
        return torch.cat([self.gradient_q(z), self.gradient_p(z)], dim=-1)

    def gradient_q(self, z):
        return torch.zeros_like(check_state(z, 4 * self.n_bodies)[..., : 2 * self.n_bodies])

    def gradient_p(self, z):
        return z[..., 2 * self.n_bodies :]

    def drift(self, q, p, h):
        """The exact flow over h, (…, 2 N) each: straight lines, mirrored where something is touched."""
        left = torch.full_like(q[..., :1], h)
        for _ in range(self.n_contacts):
            x, v = self._between(q), self._between(p)
            wall, pair = self._wall_times(q, p, h), self._pair_times(x, v, h)
            first = torch.cat([wall, pair], dim=-1).amin(dim=-1, keepdim=True)
            met, step = first <= left, torch.minimum(first, left)
            q, left = q + step * p, left - step
            p = torch.where(met & (wall == first), -p, p) + self._knocks(
                x + step[..., None] * v, v, met & (pair == first)
            )
        return q + left * p, p

    def _wall_times(self, q, p, h):
        """When a coordinate gets to the wall ahead of it, (…, 2 N); below 0 if it is beyond."""
        return ((self.wall - q * p.sign()) / p.abs().clamp(min=1e-9)).clamp(min=-h)

    def _pair_times(self, x, v, h):
        """When pairs come as near as D, (…, pairs): the first root of |x + t v| = D, infinite for none."""
        toward, far = -(x * v).sum(dim=-1), x.square().sum(dim=-1) - self.contact.square()
        inside = toward.square() - v.square().sum(dim=-1) * far
        meets = (toward > 0) & (inside > 0)
        time = far / (toward + inside.where(meets, 1.0).sqrt()).where(meets, 1.0)
        return time.clamp(min=-h).where(meets, torch.inf)

    def _knocks(self, x, v, met):
        """What a contact adds to p, (…, 2 N), of the pairs that met: it mirrors v along x."""
        normal = x / (x.square().sum(dim=-1, keepdim=True) + 1e-12).sqrt()
        along = (v * normal).sum(dim=-1, keepdim=True) * normal
        return -along.where(met[..., None], 0.0).flatten(-2) @ self.between

    def _between(self, x):
        """x_j - x_i of all pairs: (…, 2 N) → (…, pairs, 2)."""
        return (x @ self.between.T).unflatten(-1, (-1, 2))


class BouncingDynamics(ControlledDynamics):
    """`ControlledDynamics` of `HardBodies`: its drift is the flow from contact to contact."""

    def _drift(self, q, p, h):
        return self.hamiltonian.drift(q, p, h)
