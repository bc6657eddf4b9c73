"""The whole model: places and masses → two latents → what forces will make of them, and plans."""

import torch
from torch import nn

from ...dynamics.planning import cem
from ...dynamics.saved import SavedModel
from .networks import Block, EventPredictor, StepPredictor, fast
from .world import BLOCK, EVENT, FORCE, MASSES, N_BODIES, SIZE, WINDOW, checked_bodies

_RATE = 20.0  # what a difference of two frames is multiplied by, to be about 1
_CHUNK = 8192  # candidates predicted at once


class HierarchicalJEPA(SavedModel):
    """One Transformer over frames with two taps, and a predictor of latents above each.

    The shallow tap, after `shallow` blocks that see `band` frames each, is rolled frame by frame; the
    deep one, after all `depth` blocks, is predicted one event of `event` frames ahead. Both predictors
    take the forces on the bodies in px/s² times the unit of mass, those of `simulate_bodies`; places are
    px. `size`, `masses` and `force` say what is usual in the world, to standardise by. Weights start as
    torch draws them: build the model inside `seeded(seed)`.
    """

    def __init__(
        self, n_bodies=N_BODIES, *, width=256, depth=4, shallow=2, heads=4, band=3, hidden=512,
        window=WINDOW, event=EVENT, size=SIZE, masses=MASSES, force=FORCE,
    ):  # fmt: skip
        super().__init__()
        if not 0 < shallow < depth:
            raise ValueError(f"the shallow tap must lie below the deep one, got {shallow} and {depth} blocks")
        self.settings = {
            "n_bodies": n_bodies, "width": width, "depth": depth, "shallow": shallow, "heads": heads,
            "band": band, "hidden": hidden, "window": window, "event": event, "size": size,
            "masses": list(masses), "force": force,
        }  # fmt: skip
        self.n_bodies, self.width, self.window, self.event = n_bodies, width, window, event
        self.size, self.force = size, force
        self.memory = 1 + shallow * (band - 1)  # frames before its own that a shallow latent depends on
        self.mean_mass, self.mass_spread = sum(masses) / 2, (masses[1] - masses[0]) / 12**0.5
        n_inputs = n_bodies * 5  # place, how it changed, mass
        self.stem = nn.Sequential(nn.Linear(n_inputs, width), nn.GELU(), nn.Linear(width, width))
        self.lower = nn.ModuleList(Block(width, heads, band) for _ in range(shallow))
        self.upper = nn.ModuleList(Block(width, heads, window) for _ in range(depth - shallow))
        self.shallow_head, self.deep_head = (
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width)) for _ in range(2)
        )
        self.next = StepPredictor(width, 2 * n_bodies, hidden)
        self.later = EventPredictor(width, event, 2 * n_bodies, hidden)

    def config(self):
        return self.settings

    @property
    def device(self):
        return next(self.parameters()).device

    def encode(self, positions, masses):
        """What the last frame's latents say: (B, 16, N, 2) px, (B, N) → shallow, deep, each (B, width).

        Raises `ValueError` for other shapes and numbers that are not finite.
        """
        if positions.ndim != 4 or positions.shape[1] != self.window:
            raise ValueError(
                f"positions must be (B, {self.window}, {self.n_bodies}, 2), got {tuple(positions.shape)}"
            )
        shallow, deep = self.tokens(positions, masses)
        return shallow[:, -1].float(), deep[:, -1].float()

    def tokens(self, positions, masses):
        """Latents of every frame, from it and those before: shallow, deep, each (B, T, width)."""
        x = self._below(positions, masses)
        shallow = self.shallow_head(x)
        for block in self.upper:
            x = block(x)
        return shallow, self.deep_head(x)

    def shallow_tokens(self, positions, masses):
        """The shallow latents alone, of sequences of any length: (B, T, width).

        A frame's latent depends on the `memory` frames before it alone: from there on it is the one
        that `encode` gives.
        """
        return self.shallow_head(self._below(positions, masses))

    def _below(self, positions, masses):
        positions, masses = self._checked_positions(positions, masses)
        places = (positions - self.size / 2).flatten(2) / (self.size / 4)
        rates = _RATE * (places - torch.cat([places[:, :1], places[:, :-1]], dim=1))
        weights = ((masses - self.mean_mass) / self.mass_spread)[:, None].expand(-1, places.shape[1], -1)
        x = self.stem(torch.cat([places, rates, weights], dim=-1))
        for block in self.lower:
            x = block(x)
        return x

    def predict_next(self, shallow, force):
        """One frame on, under a force on each body: (…, width), (…, N, 2) → (…, width)."""
        return self.next(shallow, self.scaled(force, shallow.shape[:-1]).flatten(-2))

    def rollout(self, shallow, forces):
        """Frame by frame: (…, width), (…, n, N, 2) → (…, n + 1, width), the first as given."""
        n_frames = forces.shape[-3] if forces.ndim > 2 else 1
        forces = self.scaled(forces, (*shallow.shape[:-1], n_frames)).flatten(-2)
        path = [shallow]
        for t in range(forces.shape[-2]):
            path.append(self.next(path[-1], forces[..., t, :]))
        return torch.stack(path, dim=-2)

    def predict_event(self, deep, forces):
        """One event on, under the forces of all its frames: (…, width), (…, 25, N, 2) → (…, width)."""
        forces = self.scaled(forces, (*deep.shape[:-1], self.event))
        return self.later(deep, forces.flatten(-2))

    @torch.no_grad()
    def plan(self, positions, masses, goal, *, rng, controlled=None, block=BLOCK, mean=None, **settings):
        """Forces that should take the deep latent to the goal's, one event ahead: (B, 25, N, 2), by `cem`.

        `goal` (B, width) is the deep latent that `encode` gives for the goal's window. Forces are held
        for `block` frames, on the `controlled` bodies alone, all of them unless given, and none exceeds
        the model's `force`. `mean` (B, 25 / block, n_controlled, 2) is a first guess, `settings` are those
        of `cem`. Raises `ValueError` as `encode` does, for a goal of another shape, and for an event that
        is no whole number of blocks.
        """
        controlled = checked_bodies(range(self.n_bodies) if controlled is None else controlled, self.n_bodies)
        n_blocks = count_blocks(self.event, block)
        goal = self.checked_goal(goal, len(positions))
        with fast(self.device):
            _, deep = self.encode(positions, masses)
        cost = event_cost(self, deep, goal, controlled, block)
        if mean is None:
            mean = torch.zeros(len(deep), n_blocks, len(controlled), 2, device=self.device)
        blocks = search(cost, mean, self.force, rng=rng, **settings)
        return held(blocks, controlled, self.n_bodies, block)

    def scaled(self, forces, shape):
        """Forces in units of the usual ones' deviation, once they are checked: (*shape, N, 2)."""
        forces = torch.as_tensor(forces)
        wanted = (*shape, self.n_bodies, 2)
        if tuple(forces.shape) != wanted:
            raise ValueError(f"forces must have the shape {wanted}, got {tuple(forces.shape)}")
        if not forces.isfinite().all():
            raise ValueError("forces must be finite, got NaN or infinity")
        return forces.to(self.device, torch.float32) * (3**0.5 / self.force)

    def checked_goal(self, goal, n_problems):
        """The goal if it is a finite latent for each problem; `ValueError` otherwise."""
        if tuple(goal.shape) != (n_problems, self.width) or not goal.isfinite().all():
            raise ValueError(
                f"goal must be finite latents ({n_problems}, {self.width}), as `encode` gives them, "
                f"got {tuple(goal.shape)}"
            )
        return goal.to(self.device)

    def _checked_positions(self, positions, masses):
        if positions.ndim != 4 or positions.shape[2:] != (self.n_bodies, 2):
            raise ValueError(
                f"positions must be (B, T, {self.n_bodies}, 2): this model knows {self.n_bodies} bodies, "
                f"got {tuple(positions.shape)}"
            )
        if tuple(masses.shape) != (len(positions), self.n_bodies):
            raise ValueError(f"masses must be ({len(positions)}, {self.n_bodies}), got {tuple(masses.shape)}")
        if not (positions.isfinite().all() and masses.isfinite().all()):
            raise ValueError("positions and masses must be finite, got NaN or infinity")
        return (tensor.to(self.device, torch.float32) for tensor in (positions, masses))


def event_cost(model, deep, goal, controlled, block):
    """How far from the goal an event ends, for candidates of `cem`: (B, S, n_blocks, C, 2) → (B, S)."""

    def cost(blocks):
        forces = held(blocks, controlled, model.n_bodies, block)
        return latent_distance(model.predict_event, deep, forces, goal)

    return cost


def latent_distance(predict, latent, forces, goal):
    """|predicted - goal|² a dimension, for S candidates of each of B problems: (B, S)."""
    n_candidates = forces.shape[1]
    starts, flat = latent.repeat_interleave(n_candidates, dim=0), forces.flatten(0, 1)
    with fast(latent.device):
        chunks = zip(starts.split(_CHUNK), flat.split(_CHUNK), strict=True)
        ends = torch.cat([predict(z, f).float() for z, f in chunks])
    return (ends.unflatten(0, forces.shape[:2]) - goal[:, None]).square().mean(dim=-1).to(forces.device)


def search(cost, mean, force, *, rng, n_candidates=300, n_elite=30, n_iterations=10, **settings):
    """`cem` over forces within ± `force`."""
    counts = {"n_candidates": n_candidates, "n_elite": n_elite, "n_iterations": n_iterations}
    settings = counts | {"min_std": 0.02 * force} | settings
    return cem(cost, mean, 0.6 * force, rng=rng, low=-force, high=force, **settings)


def held(blocks, controlled, n_bodies, block):
    """Forces for every frame and body: (…, n_blocks, n_controlled, 2) → (…, n_blocks · block, N, 2)."""
    forces = blocks.new_zeros(*blocks.shape[:-2], n_bodies, 2)
    forces[..., list(controlled), :] = blocks
    return forces.repeat_interleave(block, dim=-3)


def count_blocks(n_frames, block):
    """How many blocks there are in so many frames; `ValueError` if it is no whole number."""
    if block < 1 or n_frames % block:
        raise ValueError(f"a horizon must be a multiple of the block, got {n_frames} frames and {block}")
    return n_frames // block
