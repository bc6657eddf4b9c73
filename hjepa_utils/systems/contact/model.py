"""`ContactDynamics`: what flies straight and meets walls and other bodies, learned from tracks."""

import numpy as np
import torch
from torch import nn

from ...dynamics.hamiltonian import check_state
from ...dynamics.integrators import check_n_steps, in_own_precision
from ...dynamics.saved import SavedModel
from .fit import as_tracks, learn
from .flow import Gaps, flow
from .surfaces import Pair, Wall
from .tracks import checked_positions, flights_of


class ContactDynamics(SavedModel):
    """H = Σ m_i |ẋ_i|²/2 between walls and bodies that reflect: z = (q, p) → (…, D), D = 2 n_bodies n_dims.

    q = (q₁ … q_N) are positions, p velocities, in any units, each coordinate in its own if need be.
    x = scale q are the same in one unit of length, ẋ = scale (rate p + drift) per step. Wall k keeps body
    `wall_bodies[k]` where wall_normal·x ≥ wall_offset, pair k its bodies where |x_i - x_j + pair_shift| ≥
    pair_distance. `ContactDynamics.fit(states)` finds all of these. Computes in float64 and returns the
    dtype of z; rollouts are differentiable in z and in all that is learned, times of contacts included.
    """

    def __init__(self, n_bodies, wall_bodies=(), pair_bodies=(), n_events=(), n_dims=2):
        super().__init__()
        self.n_bodies, self.n_dims = n_bodies, n_dims
        self.wall_bodies, self.pair_bodies = list(wall_bodies), [list(pair) for pair in pair_bodies]
        self.n_events = list(n_events)
        n_walls, n_pairs = len(self.wall_bodies), len(self.pair_bodies)
        ones = torch.ones(n_bodies, n_dims, dtype=torch.float64)
        self.rate, self.drift = nn.Parameter(ones.clone()), nn.Parameter(0 * ones)
        self.scale, self.mass = nn.Parameter(ones.clone()), nn.Parameter(ones[:, 0].clone())
        self.wall_normal = nn.Parameter(ones.new_zeros(n_walls, n_dims))
        self.wall_offset = nn.Parameter(ones.new_zeros(n_walls))
        self.pair_shift = nn.Parameter(ones.new_zeros(n_pairs, n_dims))
        self.pair_distance = nn.Parameter(ones.new_ones(n_pairs))

    @classmethod
    def fit(cls, states, *, n_dims=2, one_unit=False):
        """Learn from tracks of all bodies: states (n_videos, n_times, D), positions, then velocities.

        Any units, neighbouring times equally far apart; the walls and which bodies meet are not given.
        `one_unit` says that all positions have one unit of length, which noisy states show less well.
        Noise is estimated. Needs a second or so, no gradient descent. Raises `ValueError` for other shapes,
        NaN, a coordinate that is constant, and for states that are no flights and contacts.
        """
        return cls._of(learn(as_tracks(states, n_dims), one_unit=one_unit))

    @classmethod
    def fit_tracks(cls, positions):
        """Learn from positions alone, of any tracker: (n_videos, n_times, N, n_dims), close in time.

        All in one unit of length, such as pixels. Velocities, per step, are those of straight lines
        through the times at which a body flies, as `states_from_tracks` gives them. Raises `ValueError` as
        `fit` does.
        """
        return cls._of(learn(flights_of(checked_positions(positions)), one_unit=True))

    @classmethod
    def _of(cls, found):
        walls, pairs = found.walls, found.pairs
        model = cls(
            found.units.scale.shape[0],
            [wall.body for wall in walls],
            [pair.bodies for pair in pairs],
            [surface.n_events for surface in (*walls, *pairs)],
            found.units.scale.shape[1],
        )
        values = {
            "rate": found.flights.rate,
            "drift": found.flights.drift,
            "scale": found.units.scale,
            "mass": found.units.mass,
            "wall_normal": [wall.normal for wall in walls],
            "wall_offset": [wall.offset for wall in walls],
            "pair_shift": [pair.shift for pair in pairs],
            "pair_distance": [pair.distance for pair in pairs],
        }
        for name, value in values.items():
            own = getattr(model, name)
            own.data = torch.from_numpy(np.array(value, dtype=float).reshape(own.shape))
        return model

    def config(self):
        return {
            "n_bodies": self.n_bodies,
            "wall_bodies": self.wall_bodies,
            "pair_bodies": self.pair_bodies,
            "n_events": self.n_events,
            "n_dims": self.n_dims,
        }

    @property
    def surfaces(self):
        """What reflects, in x: a list of `Wall` (body, normal, offset, n_events) and `Pair` (bodies, shift,
        distance, n_events).
        """
        normals, shifts = (x.detach().cpu().numpy() for x in (self.wall_normal, self.pair_shift))
        walls = zip(self.wall_bodies, normals, self.wall_offset.tolist(), strict=True)
        pairs = zip(map(tuple, self.pair_bodies), shifts, self.pair_distance.tolist(), strict=True)
        n_walls = len(self.wall_bodies)
        return [
            *(Wall(*wall, n) for wall, n in zip(walls, self.n_events[:n_walls], strict=True)),
            *(Pair(*pair, n) for pair, n in zip(pairs, self.n_events[n_walls:], strict=True)),
        ]

    def gaps(self):
        """The surfaces as `Gaps` over y = √m x, (n_bodies n_dims,)."""
        body = torch.eye(self.n_bodies).to(self.mass) / self.mass.sqrt()  # x_i = Σ body_ij y_j
        walls = torch.einsum("kd,kj->kjd", self.wall_normal, body[self.wall_bodies]).flatten(1)
        first, second = ([pair[side] for pair in self.pair_bodies] for side in (0, 1))
        between = torch.einsum("kj,de->kdje", body[first] - body[second], torch.eye(self.n_dims).to(body))
        between = between.flatten(2)  # (K, n_dims, n): x_i - x_j of y
        curve = between.mT @ between
        slope = 2 * torch.einsum("kdn,kd->kn", between, self.pair_shift)
        level = self.pair_shift.square().sum(dim=1) - self.pair_distance.square()
        return Gaps(
            torch.cat([curve.new_zeros(len(walls), *curve.shape[1:]), curve]),
            torch.cat([walls, slope]),
            torch.cat([-self.wall_offset, level]),
        )

    def canonical(self, z):
        """(y, ẏ) = √m (x, ẋ), canonical coordinates in which H = |ẏ|²/2: (…, D) → (…, D)."""
        q, p = self._split(z)
        weight = self.mass.sqrt()[:, None] * self.scale
        y, w = weight * q, weight * (self.rate * p + self.drift)
        return torch.cat([y.flatten(-2), w.flatten(-2)], dim=-1)

    def from_canonical(self, yw):
        """The inverse of `canonical`."""
        y, w = self._split(yw)
        weight = self.mass.sqrt()[:, None] * self.scale
        q, p = y / weight, (w / weight - self.drift) / self.rate
        return torch.cat([q.flatten(-2), p.flatten(-2)], dim=-1)

    def _split(self, z):
        width = 2 * self.n_bodies * self.n_dims
        z = check_state(z, width).to(self.mass.dtype)
        q, p = z.chunk(2, dim=-1)
        shape = (self.n_bodies, self.n_dims)
        return q.unflatten(-1, shape), p.unflatten(-1, shape)

    def advance(self, yw, steps):
        """The flow in canonical coordinates: (…, D) → (…, D).

        `steps` is the time in steps of `rollout`, a number or a tensor (…,) of one sign; < 0 goes back.
        """
        y, w = yw.reshape(-1, yw.shape[-1]).chunk(2, dim=-1)
        steps = torch.as_tensor(steps, dtype=yw.dtype)
        backwards = bool((steps < 0).any())
        sign = -1.0 if backwards else 1.0
        steps = (sign * steps).expand(yw.shape[:-1]).reshape(-1)
        y, w = flow(y, sign * w, steps, self.gaps())
        return torch.cat([y, sign * w], dim=-1).reshape(yw.shape)

    @in_own_precision
    def rollout(self, z0, n_steps):
        """(…, D) → (…, n_steps + 1, D), one step from each state of the tracks to the next."""
        check_n_steps(n_steps)
        y, w = self.canonical(z0).reshape(-1, z0.shape[-1]).chunk(2, dim=-1)
        gaps, states = self.gaps(), [z0]
        for _ in range(n_steps):
            y, w = flow(y, w, 1.0, gaps)
            z = self.from_canonical(torch.cat([y, w], dim=-1))
            states.append(z.reshape(z0.shape).to(z0.dtype))
        return torch.stack(states, dim=-2)

    @in_own_precision
    def states_at(self, z, times):
        """The states at T rising times, in steps after z's, negative ones before it: (…, D) → (…, T, D)."""
        canonical = self.canonical(z)
        y, w = canonical.reshape(-1, z.shape[-1]).chunk(2, dim=-1)
        gaps, found = self.gaps(), {}
        for sign in (-1.0, 1.0):
            at, position, speed = 0.0, y, sign * w
            for time in sorted((t for t in times if (t < 0) == (sign < 0)), key=abs):
                position, speed = flow(position, speed, abs(time) - at, gaps)
                at, found[time] = abs(time), torch.cat([position, sign * speed], dim=-1)
        states = self.from_canonical(torch.stack([found[time] for time in times], dim=-2))
        return states.reshape(*z.shape[:-1], len(times), z.shape[-1]).to(z.dtype)

    def energy(self, z):
        """Σ m |ẋ|²/2 in units of length per step, with the first mass as unit: (…, D) → (…)."""
        w = self.canonical(z).chunk(2, dim=-1)[1]
        return w.square().sum(dim=-1) / 2
