"""Models of N bodies that know which coordinates are whose: z = (q₁ … q_N, p₁ … p_N), `n_dims` numbers each.

All bodies share one network, and all pairs another, whatever the order of the bodies.
"""

import torch
from torch import nn

from ..runs.checks import whole_number
from .hamiltonian import Hamiltonian, check_state
from .integrators import in_own_precision, repeat
from .saved import SavedModel


def checked_bodies(n_bodies, n_dims):
    """Plain integers. `ValueError` for one below 1."""
    n_bodies, n_dims = whole_number(n_bodies, "n_bodies"), whole_number(n_dims, "n_dims")
    if n_bodies < 1 or n_dims < 1:
        raise ValueError(f"n_bodies and n_dims must be 1 or more, got {n_bodies} and {n_dims}")
    return n_bodies, n_dims


class EntityHamiltonian(Hamiltonian, SavedModel):
    """H = Σ_i |p_i|²/(2 m_i) + Σ_i V(q_i) + Σ_{i<j} U(|q_i - q_j|), separable: (…, D) → (…).

    V and U have one hidden layer of softplus units, steep from the start: a wall is a slope that is nearly 0
    where bodies move and rises within `1 / steepness` of it. `reach` is how far from the origin the walls
    may be, in units of q; put the origin in the middle. All coordinates need one unit of length, and all
    momenta one of speed. Gradients are in closed form. Raises `ValueError` for z of another width or dtype.
    """

    separable = True
    pairs: torch.Tensor

    def __init__(self, n_bodies=2, n_dims=2, n_units=128, steepness=4.0, reach=2.0, height=0.1):
        super().__init__()
        self.n_bodies, self.n_dims = checked_bodies(n_bodies, n_dims)
        self.n_units, self.steepness = whole_number(n_units, "n_units"), float(steepness)
        self.reach, self.height = float(reach), float(height)
        self.log_mass = nn.Parameter(torch.zeros(self.n_bodies))
        self.wall_slope = nn.Parameter(steepness * torch.randn(self.n_units, self.n_dims))
        where = reach * (0.7 + 0.6 * torch.rand(self.n_units))  # a unit rises from there on
        self.wall_level = nn.Parameter(-where * self.wall_slope.detach().norm(dim=1))
        self.wall_height = nn.Parameter(torch.full((self.n_units,), height))
        n_pair_units = max(self.n_units // 4, 1)
        self.pair_slope = nn.Parameter(-steepness * (0.5 + 2 * torch.rand(n_pair_units)))
        self.pair_level = nn.Parameter(-reach / 2 * torch.rand(n_pair_units) * self.pair_slope.detach())
        self.pair_height = nn.Parameter(torch.full((n_pair_units,), height))
        self.register_buffer(
            "pairs", torch.triu_indices(self.n_bodies, self.n_bodies, offset=1).T, persistent=False
        )

    def config(self):
        names = ("n_bodies", "n_dims", "n_units", "steepness", "reach", "height")
        return {name: getattr(self, name) for name in names}

    def forward(self, z):
        q, p = self._bodies(z)
        kinetic = (p.square().sum(dim=-1) / (2 * self.log_mass.exp())).sum(dim=-1)
        units = nn.functional.softplus(q @ self.wall_slope.T + self.wall_level)
        distance = self._apart(q)[1]
        pair_units = nn.functional.softplus(distance * self.pair_slope + self.pair_level)
        walls = (units @ self.wall_height).sum(dim=-1)
        return kinetic + walls + (pair_units @ self.pair_height).sum(dim=-1)

    def gradient(self, z):
        return torch.cat([self.gradient_q(z), self.gradient_p(z)], dim=-1)

    def gradient_q(self, z):
        q, _ = self._bodies(z)
        slopes = torch.sigmoid(q @ self.wall_slope.T + self.wall_level) * self.wall_height
        walls = slopes @ self.wall_slope
        apart, distance = self._apart(q)
        slopes = torch.sigmoid(distance * self.pair_slope + self.pair_level) * self.pair_height
        along = (slopes @ self.pair_slope)[..., None] * apart / distance
        first, second = self.pairs.T
        return walls.index_add(-2, first, along).index_add(-2, second, -along).flatten(-2)

    def gradient_p(self, z):
        _, p = self._bodies(z)
        return (p / self.log_mass.exp()[:, None]).flatten(-2)

    def _bodies(self, z):
        z = check_state(z, 2 * self.n_bodies * self.n_dims, like=self.log_mass)
        return (half.unflatten(-1, (self.n_bodies, self.n_dims)) for half in z.chunk(2, dim=-1))

    def _apart(self, q):
        """q_i - q_j (…, n_pairs, n_dims) and its length (…, n_pairs, 1), kept from 0."""
        first, second = self.pairs.T
        apart = q[..., first, :] - q[..., second, :]
        return apart, (apart.square().sum(dim=-1, keepdim=True) + 1e-12).sqrt()


class InteractionNetwork(SavedModel):
    """s_i ← s_i + f(s_i, Σ_{j≠i} g(s_i, s_j)) for s_i = (q_i, p_i): bodies and pairs, but no energy.

    f and g are ReLU networks of two hidden layers (Battaglia et al., 2016), shared by bodies and pairs.
    `rollout`: (…, D) → (…, n_steps + 1, D).
    """

    def __init__(self, n_bodies=2, n_dims=2, hidden_dim=64):
        super().__init__()
        self.n_bodies, self.n_dims = checked_bodies(n_bodies, n_dims)
        self.hidden_dim = whole_number(hidden_dim, "hidden_dim")
        size, width = 2 * self.n_dims, self.hidden_dim
        self.pair = _two_layers(2 * size, width, width)
        self.body = _two_layers(size + width, width, size)

    @classmethod
    def of_size(cls, n_bodies, n_dims, n_parameters):
        """As wide as `n_parameters` allow. `ValueError` if that is no unit."""
        width = 0
        while _count(2 * n_dims, width + 1) <= n_parameters:
            width += 1
        if not width:
            least = _count(2 * n_dims, 1)
            raise ValueError(f"an interaction network needs {least} parameters or more, got {n_parameters}")
        return cls(n_bodies, n_dims, width)

    def config(self):
        return {"n_bodies": self.n_bodies, "n_dims": self.n_dims, "hidden_dim": self.hidden_dim}

    def forward(self, z):
        """One step: (…, D) → (…, D)."""
        z = check_state(z, 2 * self.n_bodies * self.n_dims, like=self.pair[0].weight)
        halves = z.unflatten(-1, (2, self.n_bodies, self.n_dims))
        state = torch.cat([halves[..., 0, :, :], halves[..., 1, :, :]], dim=-1)
        n, size = self.n_bodies, state.shape[-1]
        shape = (*state.shape[:-2], n, n, size)
        both = torch.cat([state[..., :, None, :].expand(shape), state[..., None, :, :].expand(shape)], dim=-1)
        others = 1 - torch.eye(n, dtype=z.dtype, device=z.device)
        effect = (self.pair(both) * others[..., None]).sum(dim=-2)
        state = state + self.body(torch.cat([state, effect], dim=-1))
        return torch.cat([part.flatten(-2) for part in state.chunk(2, dim=-1)], dim=-1)

    @in_own_precision
    def rollout(self, z0, n_steps):
        return repeat(self, z0, n_steps)


def _two_layers(n_in, width, n_out):
    return nn.Sequential(
        nn.Linear(n_in, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, n_out)
    )  # fmt: skip


def _count(size, width):
    """Parameters of an `InteractionNetwork` for bodies of so many numbers."""
    pair = (2 * size + 1) * width + 2 * (width + 1) * width
    return pair + (size + width + 1) * width + (width + 1) * width + (width + 1) * size
