"""The whole model: pictures → z = (q, p) → driven dynamics → pictures, and plans in between."""

from typing import NamedTuple

import torch
from torch import nn

from ...dynamics.planning import plan_actions
from ...dynamics.saved import SavedModel
from ...runs.checks import whole_number
from .bounces import BouncingDynamics, HardBodies
from .coordinates import Angle, Place
from .decoders import MovedTemplates, TurnedTemplate
from .dynamics import (
    BoundedResidual,
    ConstantDamping,
    ControlledDynamics,
    ScaledLinear,
    StateDamping,
)
from .encoders import MomentumHead, SlotEncoder, TurnEncoder
from .energies import AngleEnergy
from .episodes import FRAME, FRAMES_PER_SECOND
from .reading import PathMomentum
from .timing import TimedDynamics

DT = 1 / FRAMES_PER_SECOND
_BATCH = 250  # pictures encoded or drawn at once


class Parts(NamedTuple):
    """What a world's model is made of."""

    coordinates: type[Angle] | type[Place]
    encoder: nn.Module  # pictures (B, 3, 64, 64) → q (B, n)
    momentum: MomentumHead
    dynamics: ControlledDynamics
    decoder: nn.Module  # q (B, n) → pictures
    nothing: float  # the brightness of an empty pixel, 0 or 1
    max_action: float


def pendulum_parts(n_frames=8, hidden=64, residual=0.0):
    """An angle, turned about a pivot; friction may depend on the state, and when a push acts is learned."""
    dynamics = TimedDynamics(
        AngleEnergy(1, hidden),
        ScaledLinear(1, 1, scale=6.0),
        StateDamping(Angle, 1, start=-2.5),  # lower, and Adam hardly feels it
        BoundedResidual(Angle, 1, residual) if residual else None,
        dt=DT,
    )
    momentum = MomentumHead(Angle, 1, 1, n_frames=n_frames, dt=DT)
    return Parts(Angle, TurnEncoder(), momentum, dynamics, TurnedTemplate(), 1.0, 2.0)


def balls_parts(n_bodies=2, n_frames=4, residual=0.0, wall=0.95, contact=0.2, substeps=2):
    """Bodies in a box, which touch walls and each other as hard things; one constant friction."""
    dynamics = BouncingDynamics(
        HardBodies(n_bodies, wall, contact),
        ScaledLinear(2, 2 * n_bodies, scale=6.0),
        ConstantDamping(),
        BoundedResidual(Place, 2 * n_bodies, residual) if residual else None,
        dt=DT,
        substeps=substeps,
    )
    momentum = PathMomentum(dynamics, Place, 2 * n_bodies, 2, n_frames=n_frames, dt=DT, hidden=0)
    encoder, decoder = SlotEncoder(n_bodies), MovedTemplates(n_bodies)
    return Parts(Place, encoder, momentum, dynamics, decoder, 0.0, 1.0)


WORLDS = {"pendulum": pendulum_parts, "balls": balls_parts}


class HamiltonianWorldModel(SavedModel):
    """Entities in phase space, found in pictures and moved by ż = (J - R)∇H + G u + r.

    `world` is one of `WORLDS`; `settings` are the arguments of its parts. z = (q, p) is (B, D), q in
    radians or in half-widths of the picture, p in these per second. Weights start as torch draws them:
    build the model inside `seeded(seed)`, and call `eval()` once it is trained: momenta of balls are then
    read across contacts (`PathMomentum`).
    """

    def __init__(self, world="pendulum", **settings):
        super().__init__()
        if world not in WORLDS:
            raise ValueError(f"no world model for {world!r}; there are {', '.join(WORLDS)}")
        self.world, self.settings = world, settings
        parts = WORLDS[world](**settings)
        self.coordinates, self.nothing, self.max_action = parts.coordinates, parts.nothing, parts.max_action
        self.encoder, self.momentum, self.dynamics = parts.encoder, parts.momentum, parts.dynamics
        self.decoder = parts.decoder

    @classmethod
    def from_pretrained(cls, folder):
        """Load what `save_pretrained` wrote, on the CPU, to predict with. Raises as `SavedModel` does."""
        return super().from_pretrained(folder).eval()

    def config(self):
        return {"world": self.world, **self.settings}

    @property
    def action_dim(self):
        """A, the numbers of an action."""
        return self.momentum.action_dim

    @property
    def n_frames(self):
        """K, the pictures that a momentum is read from."""
        return self.momentum.n_frames

    def pictures(self, frames):
        """uint8 (…, 3, 64, 64) → what the networks see, float32, 0 where there is nothing."""
        return frames.to(self.decoder.background.device).float() / 255 - self.nothing

    def places(self, frames):
        """uint8 (B, T, 3, 64, 64) → q (B, T, n), each picture on its own."""
        check_frames(frames)
        flat = frames.flatten(0, 1)
        q = torch.cat([self.encoder(self.pictures(some)) for some in flat.split(_BATCH)])
        return q.unflatten(0, frames.shape[:2])

    def encode(self, frames, actions=None):
        """uint8 (B, T, 3, 64, 64), T ≥ K, and the actions (B, T - 1, A) between → z of the last, (B, D).

        Without `actions` nothing pushed. Raises `ValueError` for fewer pictures than K, other shapes,
        and actions that are not finite or beyond ± `max_action`.
        """
        check_frames(frames, least=self.n_frames)
        if actions is None:
            actions = torch.zeros(len(frames), frames.shape[1] - 1, self.action_dim)
        actions = self._checked(actions, (len(frames), frames.shape[1] - 1))
        q = self.places(frames[:, -self.n_frames :])
        p = self.momentum(q, actions[:, actions.shape[1] + 1 - self.n_frames :])
        return torch.cat([q[:, -1], p], dim=-1)

    def rollout(self, z0, actions):
        """z0 (B, D), actions (B, n, A) → (B, n + 1, D). Raises `ValueError` as `encode` does."""
        return self.dynamics.rollout(z0, self._checked(actions, z0.shape[:-1]))

    def energy_ledger(self, z0, actions):
        """H, work, dissipated and residual along `rollout`, each (B, n + 1): see `Ledger`."""
        return self.dynamics.ledger(z0, self._checked(actions, z0.shape[:-1]))

    @torch.no_grad()
    def decode(self, z):
        """z (…, D) → uint8 pictures (…, 3, 64, 64)."""
        q = z.chunk(2, dim=-1)[0].reshape(-1, z.shape[-1] // 2)
        drawn = torch.cat([self.decoder(some) for some in q.split(_BATCH)]) + self.nothing
        return (drawn.clamp(0, 1) * 255).round().byte().unflatten(0, z.shape[:-1])

    @torch.no_grad()
    def plan(self, frames, utility, *, rng, actions=None, **settings):
        """Actions (B, horizon, A) of high utility from the last picture on: `plan_actions` after `encode`.

        `utility(states, actions)`: (B, n, horizon + 1, D), (B, n, horizon, A) → (B, n), the higher the
        better. `settings` are `horizon`, 30 frames unless given, `mean` and those of `cem`. Raises as both
        functions do.
        """
        z0 = self.encode(frames, actions)
        sizes = {"action_dim": self.action_dim, "bound": self.max_action}
        return plan_actions(self.dynamics, z0, utility, rng=rng, **sizes, **settings)

    def _checked(self, actions, shape):
        actions = torch.as_tensor(actions)
        wanted = (*shape, self.action_dim)
        if len(shape) == 1:
            fits = actions.ndim == 3 and (actions.shape[0], actions.shape[2]) == wanted
            wanted = f"({shape[0]}, n, {self.action_dim})"
        else:
            fits = tuple(actions.shape) == wanted
        if not fits:
            raise ValueError(f"actions must have the shape {wanted}, got {tuple(actions.shape)}")
        if not actions.isfinite().all():
            raise ValueError("actions must be finite, got NaN or infinity")
        largest = actions.abs().max().item() if actions.numel() else 0.0
        if largest > self.max_action * (1 + 1e-6):
            raise ValueError(f"actions must lie within ± {self.max_action}, got {largest:.4g}: clip them")
        return actions.to(self.decoder.background)


def check_frames(frames, least=1):
    """`ValueError` or `TypeError` for what is no batch of pictures in a row."""
    if not isinstance(frames, torch.Tensor) or frames.dtype != torch.uint8:
        kind = getattr(frames, "dtype", type(frames).__name__)
        raise TypeError(f"frames must be a uint8 tensor, got {kind}")
    if frames.ndim != 5 or frames.shape[2:] != (3, FRAME, FRAME):
        raise ValueError(f"frames must be (B, T, 3, {FRAME}, {FRAME}), got {tuple(frames.shape)}")
    if frames.shape[1] < whole_number(least, "the least number of frames"):
        raise ValueError(f"this model reads momenta from {least} frames, got {frames.shape[1]}")
