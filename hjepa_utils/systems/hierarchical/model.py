"""The whole model: places and masses → two latents → what forces will make of them."""

import copy

import torch
from torch import nn

from ...dynamics.saved import SavedModel
from ...simulators.checks import as_floats, check_count, check_positive
from .networks import Block, EventPredictor, StepPredictor
from .world import BLOCK, EVENT, FORCE, MASSES, N_BODIES, SIZE, WINDOW

_RATE = 20.0  # what a difference of two frames is multiplied by, to be about 1


class HierarchicalJEPA(SavedModel):
    """One Transformer over frames with two taps, and a predictor of latents above each.

    The shallow tap, after `shallow` blocks that see `band` frames each, is rolled frame by frame; the
    deep one, after all `depth` blocks, is predicted one event of `event` frames ahead. Both predictors
    take the forces on the bodies in px/s² times the unit of mass, those of `simulate_bodies`; places are
    px. `size`, `masses` and `force` say what is usual in the world, to standardise by. Weights start as
    torch draws them: build the model inside `seeded(seed)`.
    """

    def __init__(
        self, n_bodies=N_BODIES, *, width=256, depth=4, shallow=2, heads=4, band=3, hidden=384,
        window=WINDOW, event=EVENT, size=SIZE, masses=MASSES, force=FORCE,
    ):  # fmt: skip
        super().__init__()
        counts = {
            "n_bodies": n_bodies, "width": width, "depth": depth, "shallow": shallow, "heads": heads,
            "band": band, "hidden": hidden, "window": window, "event": event,
        }  # fmt: skip
        check_count(**counts)
        check_positive(size=size, force=force)
        low_and_high = as_floats(masses, "masses")
        if low_and_high.shape != (2,) or not 0 < low_and_high[0] < low_and_high[1]:
            raise ValueError(f"masses must be the least and the largest in the world, got {masses!r}")
        if not 0 < shallow < depth:
            raise ValueError(f"the shallow tap must lie below the deep one, got {shallow} and {depth} blocks")
        self.settings = {
            **counts, "size": size, "masses": low_and_high.tolist(), "force": force
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

    def save_pretrained(self, folder):
        """As `SavedModel`'s, in half precision, which rounds weights by up to 0.05 %."""
        SavedModel.save_pretrained(copy.deepcopy(self).half(), folder)

    @classmethod
    def from_pretrained(cls, folder):
        return super().from_pretrained(folder).float()

    @property
    def device(self):
        return next(self.parameters()).device

    def encode(self, positions, masses):
        """What the last frame's latents say: (B, 16, N, 2) px, (B, N) → shallow, deep, each (B, width).

        Raises `ValueError` for other shapes and numbers that are not finite.
        """
        positions, masses = as_tensor(positions, "positions"), as_tensor(masses, "masses")
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
        shallow = self._checked_latents(shallow)
        return self.next(shallow, self.scaled(force, shallow.shape[:-1]).flatten(-2))

    def rollout(self, shallow, forces):
        """Frame by frame: (…, width), (…, n, N, 2) → (…, n + 1, width), the first as given."""
        shallow, forces = self._checked_latents(shallow), as_tensor(forces, "forces")
        n_frames = forces.shape[-3] if forces.ndim > 2 else 1
        forces = self.scaled(forces, (*shallow.shape[:-1], n_frames)).flatten(-2)
        path = [shallow]
        for t in range(forces.shape[-2]):
            path.append(self.next(path[-1], forces[..., t, :]))
        return torch.stack(path, dim=-2)

    def predict_event(self, deep, forces):
        """One event on, under the forces of all its frames: (…, width), (…, 25, N, 2) → (…, width)."""
        deep = self._checked_latents(deep)
        forces = self.scaled(forces, (*deep.shape[:-1], self.event))
        return self.later(deep, forces.flatten(-2))

    def plan(self, positions, masses, goal, *, rng, controlled=None, block=BLOCK, mean=None, **settings):
        """Forces that should take the deep latent to the goal's, one event ahead: (B, 25, N, 2), by `cem`.

        `goal` (B, width) is the deep latent that `encode` gives for the goal's window. Forces are held
        for `block` frames, on the `controlled` bodies alone, all of them unless given, and none exceeds
        the model's `force`. `mean` (B, 25 / block, n_controlled, 2) is a first guess, `settings` are those
        of `cem`. Raises `ValueError` as `encode` does, for a goal of another shape, and for an event that
        is no whole number of blocks.
        """
        from .plans import event_plan  # here: a training is no other one when planning changes

        goal = self.checked_goal(goal, len(positions))
        return event_plan(self, positions, masses, goal, rng, controlled, block, mean, **settings)

    def scaled(self, forces, shape):
        """Forces in units of the usual ones' deviation, once they are checked: (*shape, N, 2)."""
        forces = as_tensor(forces, "forces")
        wanted = (*shape, self.n_bodies, 2)
        if tuple(forces.shape) != wanted:
            raise ValueError(f"forces must have the shape {wanted}, got {tuple(forces.shape)}")
        if not forces.isfinite().all():
            raise ValueError("forces must be finite, got NaN or infinity")
        return forces.to(self.device, torch.float32) * (3**0.5 / self.force)

    def checked_goal(self, goal, n_problems):
        """The goal if it is a finite latent for each problem; `ValueError` otherwise."""
        goal = as_tensor(goal, "goal")
        if tuple(goal.shape) != (n_problems, self.width) or not goal.isfinite().all():
            raise ValueError(
                f"goal must be finite latents ({n_problems}, {self.width}), as `encode` gives them, "
                f"got {tuple(goal.shape)}"
            )
        return goal.to(self.device)

    def _checked_latents(self, latents):
        latents = as_tensor(latents, "latents")
        if latents.shape[-1:] != (self.width,):
            raise ValueError(f"latents must be (…, {self.width}), got {tuple(latents.shape)}")
        return latents.to(self.device)

    def _checked_positions(self, positions, masses):
        positions, masses = as_tensor(positions, "positions"), as_tensor(masses, "masses")
        if positions.ndim != 4 or positions.shape[2:] != (self.n_bodies, 2):
            raise ValueError(
                f"positions must be (B, T, {self.n_bodies}, 2): this model knows {self.n_bodies} bodies, "
                f"got {tuple(positions.shape)}"
            )
        if tuple(masses.shape) != (len(positions), self.n_bodies):
            raise ValueError(f"masses must be ({len(positions)}, {self.n_bodies}), got {tuple(masses.shape)}")
        if not (positions.isfinite().all() and masses.isfinite().all()):
            raise ValueError("positions and masses must be finite, got NaN or infinity")
        if not (masses > 0).all():
            raise ValueError(f"masses must be above 0, got {masses.min().item():.4g}")
        return (tensor.to(self.device, torch.float32) for tensor in (positions, masses))


def as_tensor(values, name):
    """Real numbers of any kind as a float tensor, whose gradient is kept; `TypeError` for any other."""
    try:
        tensor = torch.as_tensor(values)
        if tensor.is_complex() or tensor.dtype == torch.bool:
            raise TypeError
    except (TypeError, ValueError, RuntimeError):
        shown = " ".join(repr(values).split())[:60]
        raise TypeError(f"{name} must be real numbers, in rows of one length, got {shown}") from None
    return tensor if tensor.is_floating_point() else tensor.float()
