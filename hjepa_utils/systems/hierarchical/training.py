"""Training in two phases: encoder and predictors together, then the predictors on what the encoder says.

The second phase sees 30 times as many latents in the same time. Sequences are free, so every epoch has
fresh ones. Both loops are `resumable`: given a folder, they go on after the last epoch, to the same bits.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from ...runs.checkpoints import resumable
from ...runs.checks import checked_seed, whole_number
from ...runs.fingerprint import of_training
from ...runs.hardware import fast, seeded
from ...simulators.checks import SMALL, is_number
from .losses import STATISTICS, Weights, event_loss, jepa_terms, step_loss
from .networks import InverseDynamics
from .world import draw_sequences


@dataclass(frozen=True)
class JEPASettings:
    """Phase 1: everything. The paper has 300 epochs of 49,000 sequences; the rest is ours."""

    n_epochs: int = 300
    n_sequences: int = 49_000  # of an epoch
    fresh: bool = True  # other sequences in every epoch
    batch_size: int = 64
    lr: float = 1e-3
    weight_decay: float = 1e-4
    n_ahead: int = 8  # frames that shallow latents are rolled
    places: tuple[int, ...] = (5, 10, 15)  # of a window, from which an event is predicted
    statistics: str = "changes"
    invariance: float = Weights().invariance
    variance: float = Weights().variance
    covariance: float = Weights().covariance
    inverse: float = Weights().inverse

    @property
    def weights(self):
        return Weights(self.invariance, self.variance, self.covariance, self.inverse)


@dataclass(frozen=True)
class PredictorSettings:
    """Phase 2: both predictors alone, on latents kept for one epoch."""

    n_epochs: int = 40
    n_sequences: int = 8_000
    fresh: bool = True
    n_updates: int = 200  # of an epoch
    batch_size: int = 512  # of events
    n_rolled: int = 128  # of them, the sequences whose frames are rolled, each of which costs as an event
    lr: float = 1e-3
    weight_decay: float = 1e-2
    horizons: tuple[int, ...] = (4, 8, 16)  # frames rolled, each for an equal share of the epochs
    places: tuple[int, ...] = (5, 10, 15)


def fit_jepa(model, *, seed, checkpoint=None, label="JEPA", **settings):
    """Train all of a model on sequences of its world; a list with a dict per epoch.

    Each holds the epoch's mean loss and terms, and the loss of its first batch. `settings` are the fields
    of `JEPASettings`. Raises `ValueError` for settings that do not fit and a loss that is not finite.
    """
    settings = JEPASettings(**settings)
    check_settings(settings, model)
    if settings.statistics not in STATISTICS:
        raise ValueError(f"statistics must be one of {', '.join(STATISTICS)}, got {settings.statistics!r}")
    if not 1 <= whole_number(settings.n_ahead, "n_ahead") < model.window - model.memory:
        raise ValueError(
            f"n_ahead must be from 1 to {model.window - model.memory - 1}, so that a roll-out fits into "
            f"a window, got {settings.n_ahead}"
        )
    with seeded(checked_seed(seed)):
        inverse = InverseDynamics(model.width, 2 * model.n_bodies).to(model.device)
    n_batches = settings.n_sequences // settings.batch_size

    def losses(epoch, data, draw):
        order = torch.from_numpy(draw.permutation(settings.n_sequences))
        for chosen in order[: n_batches * settings.batch_size].split(settings.batch_size):
            start = int(draw.integers(model.memory, model.window - settings.n_ahead))
            with fast(model.device):
                terms = jepa_terms(
                    model, inverse, data.some(chosen), start, n_ahead=settings.n_ahead,
                    places=settings.places, statistics=settings.statistics,
                )  # fmt: skip
            yield terms.total(settings.weights), terms._asdict()

    modules = {"model": model, "inverse": inverse}
    trained = [*model.parameters(), *inverse.parameters()]
    return epochs(losses, modules, trained, n_batches, settings, seed, checkpoint, label, model, "jepa")


def fit_predictors(model, *, seed, checkpoint=None, label="predictors", **settings):
    """Train the two predictors on latents of the frozen encoder; a list with a dict per epoch.

    Each holds the epoch's mean loss, and those of the step and of the event. `settings` are the fields of
    `PredictorSettings`. Raises as `fit_jepa` does.
    """
    settings = PredictorSettings(**settings)
    check_settings(settings, model)
    longest = model.event + model.window - 1 - model.memory
    horizons = settings.horizons if isinstance(settings.horizons, list | tuple) else ()
    if not horizons or not all(1 <= whole_number(n, "a horizon") <= longest for n in horizons):
        raise ValueError(f"horizons must be from 1 to {longest} frames, got {settings.horizons}")
    for name in ("n_rolled", "n_updates"):
        if whole_number(getattr(settings, name), name) < 1:
            raise ValueError(f"{name} must be 1 or more, got {getattr(settings, name)}")

    def losses(epoch, data, draw):
        shallow, first, second = encoded(model, data, settings.places)
        n_ahead = settings.horizons[epoch * len(settings.horizons) // settings.n_epochs]
        for _ in range(settings.n_updates):
            rows = torch.from_numpy(draw.integers(settings.n_sequences, size=settings.batch_size))
            start = int(draw.integers(model.memory, shallow.shape[1] - n_ahead))
            which = int(draw.integers(len(settings.places)))
            place = settings.places[which]
            forces = data.forces[rows]
            with fast(model.device):
                some = rows[: settings.n_rolled]
                step = step_loss(model, shallow[some].float(), data.forces[some], start, n_ahead)
                before, after = (latents[rows, which].float() for latents in (first, second))
                event = event_loss(model, before, after, forces[:, place : place + model.event])
            yield step + event, {"step": step, "event": event}

    trained = [*model.next.parameters(), *model.later.parameters()]
    return epochs(
        losses, {"model": model}, trained, settings.n_updates, settings, seed, checkpoint, label, model,
        "predictors",
    )  # fmt: skip


@torch.no_grad()
def encoded(model, data, places, batch_size=500):
    """Shallow latents of every frame (n, T, width); deep ones at `places` of the first and the last window,
    each (n, n_places, width); in half precision where the encoder runs in it."""
    kept, places = [], list(places)
    for rows in torch.arange(len(data.masses)).split(batch_size):
        positions, masses = data.positions[rows], data.masses[rows]
        with fast(model.device):
            shallow = model.shallow_tokens(positions, masses)
            windows = (positions[:, first : first + model.window] for first in (0, model.event))
            kept.append((shallow, *(model.tokens(seen, masses)[1][:, places] for seen in windows)))
    return [torch.cat(parts) for parts in zip(*kept, strict=True)]


def rate(update, n_updates, peak, rise=100):
    """A rate that rises over `rise` updates and falls along a cosine to a fiftieth of its peak."""
    fallen = (1 + math.cos(math.pi * update / n_updates)) / 2
    return peak * min(1.0, (update + 1) / rise) * (0.02 + 0.98 * fallen)


def epochs(losses, modules, trained, n_batches, settings, seed, checkpoint, label, model, name):
    """AdamW under `rate`, gradients clipped at 2; an epoch's sequences and draws have seeds of their own.

    `losses(epoch, data, draw)` yields the loss of each of `n_batches` batches and its terms by name;
    `model` says which world the sequences are of.
    """
    optimiser = torch.optim.AdamW(trained, settings.lr, weight_decay=settings.weight_decay, fused=True)
    history, n_updates, seed = [], settings.n_epochs * n_batches, checked_seed(seed)
    made_from, file = {}, None
    if checkpoint:
        file = Path(checkpoint) / f"{name}.safetensors"
        made_from = of_training(settings, seed, modules, losses, epochs)
    for epoch in resumable(
        file, settings.n_epochs, fingerprint=made_from, history=history, modules=modules,
        optimisers={"AdamW": optimiser}, label=label, unit="epoch", shown=("loss",),
    ):  # fmt: skip
        data = _sequences(model, settings, seed, epoch)
        rows, terms, lr = [], {}, settings.lr
        for batch, (loss, terms) in enumerate(losses(epoch, data, np.random.default_rng([seed, epoch, 1]))):
            lr = rate(epoch * n_batches + batch, n_updates, settings.lr)
            optimiser.param_groups[0]["lr"] = lr
            optimiser.zero_grad()
            loss.backward()
            clip_grad_norm_(trained, 2.0)
            optimiser.step()
            rows.append(torch.stack([loss, *terms.values()]).detach())
        rows = torch.stack(rows)
        if not rows.isfinite().all():
            raise ValueError(f"{label}: a loss of epoch {epoch + 1} is not finite (lr {lr:.3g}): lower lr")
        means = dict(zip(("loss", *terms), rows.mean(dim=0).tolist(), strict=True))
        history.append(means | {"first loss": rows[0, 0].item(), "lr": lr})
    return history


def _sequences(model, settings, seed, epoch):
    """The sequences of an epoch, on the model's device."""
    rng = np.random.default_rng([seed, epoch if settings.fresh else 0])
    n_frames = model.window + model.event
    world = {key: model.settings[key] for key in ("n_bodies", "masses", "force")}
    drawn = draw_sequences(settings.n_sequences, n_frames, rng=rng, **world)
    return type(drawn)(*(tensor.to(model.device) for tensor in drawn))


def check_settings(settings, model):
    """`ValueError` for counts and places that do not fit."""
    if not is_number(settings.lr, low=SMALL):
        raise ValueError(f"lr must be finite and above 0, a number, got {settings.lr!r}")
    for name in ("n_epochs", "n_sequences", "batch_size"):
        if whole_number(getattr(settings, name), name) < 1:
            raise ValueError(f"{name} must be 1 or more, got {getattr(settings, name)}")
    if settings.batch_size > settings.n_sequences:
        raise ValueError(
            f"a batch must fit into an epoch, got {settings.batch_size} and {settings.n_sequences} sequences"
        )
    places = settings.places if isinstance(settings.places, list | tuple) else (-1,)
    if not places or not all(0 <= whole_number(place, "a place") < model.window for place in places):
        raise ValueError(f"places must be frames 0 … {model.window - 1} of a window, got {settings.places}")
