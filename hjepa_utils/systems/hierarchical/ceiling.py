"""How well one event can be foreseen at all: the deep predictor's size, taught places from true states."""

from dataclasses import dataclass

import torch
from torch import nn

from ...runs.hardware import fast
from .networks import EventPredictor
from .training import check_settings, epochs
from .world import SPEED


@dataclass(frozen=True)
class CeilingSettings:
    """Supervised; fresh sequences in every epoch, each pair of frames an event apart used in turn."""

    n_epochs: int = 20
    n_sequences: int = 49_000
    fresh: bool = True
    batch_size: int = 512
    lr: float = 1e-3
    weight_decay: float = 1e-4
    places: tuple[int, ...] = (5, 10, 15)


class TrueEvent(nn.Module):
    """States and forces → places one event later, by an `EventPredictor` of the size of `model`'s.

    What is seen, velocities included, is what no encoder has to find first. Weights start as torch
    draws them: build it inside `seeded(seed)`.
    """

    def __init__(self, model):
        super().__init__()
        self.settings, self.event, self.window = model.settings, model.event, model.window
        n, width = model.n_bodies, model.width
        self.size, self.force = model.size, model.force
        self.mean_mass, self.mass_spread = model.mean_mass, model.mass_spread
        self.stem = nn.Linear(5 * n, width)
        self.later = EventPredictor(width, model.event, 2 * n, model.settings["hidden"])
        self.head = nn.Linear(width, 2 * n)

    @property
    def device(self):
        return next(self.parameters()).device

    def forward(self, states, masses, forces):
        """(B, N, 4), (B, N), (B, 25, N, 2) → (B, N, 2), px."""
        places = (states[..., :2].float() - self.size / 2) / (self.size / 4)
        speeds, weights = states[..., 2:].float() / SPEED, (masses - self.mean_mass) / self.mass_spread
        z = self.stem(torch.cat([places.flatten(1), speeds.flatten(1), weights], dim=1))
        ends = self.head(self.later(z, forces.flatten(-2) * (3**0.5 / self.force)))
        return self.size / 2 + self.size / 4 * ends.float().unflatten(1, places.shape[1:])


def fit_ceiling(ceiling, *, seed, checkpoint=None, label="ceiling", **settings):
    """Train a `TrueEvent`; a list with a dict per epoch: the mean square error in (size / 4)², and in px.

    `settings` are the fields of `CeilingSettings`. Raises as `fit_jepa` does.
    """
    settings = CeilingSettings(**settings)
    check_settings(settings, ceiling)
    n_batches = settings.n_sequences // settings.batch_size

    def losses(epoch, data, draw):
        order = torch.from_numpy(draw.permutation(settings.n_sequences))
        for chosen in order[: n_batches * settings.batch_size].split(settings.batch_size):
            now = settings.places[int(draw.integers(len(settings.places)))]
            batch = data.some(chosen)
            with fast(ceiling.device):
                ends = ceiling(batch.states[:, now], batch.masses, batch.forces[:, now : now + ceiling.event])
            off = (ends - batch.positions[:, now + ceiling.event]) / (ceiling.size / 4)
            loss = off.square().mean()
            yield loss, {"px": ceiling.size / 4 * (2 * loss.detach()).sqrt()}

    return epochs(
        losses, {"ceiling": ceiling}, list(ceiling.parameters()), n_batches, settings, seed, checkpoint,
        label, ceiling, "ceiling",
    )  # fmt: skip
