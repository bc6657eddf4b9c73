"""Training in two stages, pictures first, then dynamics on what the encoder says; and jointly, from both.

Every loop is `resumable`: given a folder, it goes on where it stopped, and ends with the same bits.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.utils import clip_grad_norm_

from ...runs.checkpoints import resumable
from ...runs.checks import whole_number
from ...runs.fingerprint import hash_tensors, of_training
from ...runs.hardware import one_thread
from .model import check_frames


@dataclass(frozen=True)
class PictureSettings:
    """Stage 1: pictures to q and back."""

    n_steps: int = 400
    batch_size: int = 64
    lr: float = 3e-3
    coarse_weight: float = 0.0  # of the same error seen at an eighth of the size: it reaches farther


@dataclass(frozen=True)
class DynamicsSettings:
    """Stage 2: dynamics on cached q."""

    n_steps: int = 1200
    batch_size: int = 128
    lr: float = 3e-3
    horizons: tuple[int, ...] = (5, 10, 20, 30)  # frames predicted, each for an equal share of the steps
    momentum_weight: float = 0.02  # of p rolled out against p read from the pictures there
    residual_weight: float = 0.1  # of |r|²


@dataclass(frozen=True)
class JointSettings:
    """Everything at once, from pictures."""

    n_steps: int = 400
    batch_frames: int = 128  # pictures a step
    lr: float = 1e-3
    horizons: tuple[int, ...] = (3, 6, 10, 16)
    picture_weight: float = 100.0
    latent_weight: float = 0.1
    residual_weight: float = 0.1


def fit_pictures(model, frames, *, seed, checkpoint=None, label="pictures", **settings):
    """Train encoder and decoder to give pictures back: uint8 frames (n, T, 3, 64, 64), one at a time.

    Returns a list with a dict per step: loss, lr. `settings` are the fields of `PictureSettings`. Raises
    `ValueError` for other frames and for a loss that is not finite.
    """
    check_frames(frames)
    settings, flat = PictureSettings(**settings), frames.flatten(0, 1)

    def loss(step, draw):
        chosen = torch.from_numpy(draw.integers(len(flat), size=settings.batch_size))
        pictures = model.pictures(flat[chosen])
        error = model.decoder(model.encoder(pictures)) - pictures
        total = error.square().mean()
        if settings.coarse_weight:
            total = total + settings.coarse_weight * F.avg_pool2d(error, 8).square().mean()
        return total

    trained = {"encoder": model.encoder, "decoder": model.decoder}
    with one_thread():
        return _loop(loss, trained, settings, {"frames": frames}, seed, checkpoint, label, "pictures")


def fit_dynamics(dynamics, momentum, places, actions, *, seed, checkpoint=None, label="dynamics", **settings):
    """Train dynamics and momentum head on places (n, T, n_q) under actions (n, T - 1, A).

    The loss is the distance of the places rolled out from those seen, over a horizon that grows, that of
    the momenta from those read later, and the residual's size. `dynamics` may be any module with
    `rollout(z0, actions)`. Returns and raises as `fit_pictures` does; `settings` are the fields of
    `DynamicsSettings`.
    """
    settings = DynamicsSettings(**settings)
    check_windows(places, actions, momentum.n_frames + max(settings.horizons))

    def loss(step, draw):
        horizon = horizon_at(step, settings)
        q, u = draw_windows(places, actions, momentum.n_frames + horizon, settings.batch_size, draw)
        return dynamics_loss(dynamics, momentum, q, u, settings, draw_later(momentum, horizon, draw))

    trained = {"dynamics": dynamics, "momentum": momentum}
    data = {"places": places, "actions": actions}
    with one_thread():
        return _loop(loss, trained, settings, data, seed, checkpoint, label, "dynamics")


def fit_jointly(model, frames, actions, *, seed, checkpoint=None, label="joint", **settings):
    """Train all of a model from pictures: what is seen, what is predicted, and where both lie in q.

    As `fit_pictures` and `fit_dynamics`; `settings` are the fields of `JointSettings`.
    """
    settings, before = JointSettings(**settings), model.n_frames
    check_frames(frames)
    check_windows(frames, actions, before + max(settings.horizons))

    def loss(step, draw):
        length = before + horizon_at(step, settings)
        n = max(1, settings.batch_frames // length)
        shown, u = draw_windows(frames, actions, length, n, draw)
        pictures = model.pictures(shown).flatten(0, 1)
        q = model.encoder(pictures).unflatten(0, (n, length))
        rolled = _roll(model.dynamics, model.momentum, q, u)
        predicted = rolled[:, 1:].chunk(2, dim=-1)[0]
        seen = (model.decoder(q.flatten(0, 1)) - pictures).square().mean()
        later = model.pictures(shown[:, before:]).flatten(0, 1)
        foreseen = (model.decoder(predicted.flatten(0, 1)) - later).square().mean()
        apart = model.coordinates.distance(predicted, q[:, before:]).sum(dim=-1).mean()
        residual = settings.residual_weight * _residual_size(model.dynamics, rolled)
        return settings.picture_weight * (seen + foreseen) + settings.latent_weight * apart + residual

    data = {"frames": frames, "actions": actions}
    with one_thread():
        return _loop(loss, {"model": model}, settings, data, seed, checkpoint, label, "joint")


def dynamics_loss(dynamics, momentum, q, u, settings, later):
    """The loss of one batch of windows: q (B, K + horizon, n), u (B, K + horizon - 1, A).

    `later` (1,), as `draw_later` draws it, is where the K frames begin from which p is read again.
    """
    before, horizon = momentum.n_frames, q.shape[1] - momentum.n_frames
    rolled = _roll(dynamics, momentum, q, u)
    predicted, momenta = rolled[:, 1:].chunk(2, dim=-1)
    total = momentum.coordinates.distance(predicted, q[:, before:]).sum(dim=-1).mean()
    if settings.momentum_weight and horizon > before:
        window = later + torch.arange(before)
        read = momentum(q.index_select(1, window), u.index_select(1, window[:-1]))
        apart = (momenta.index_select(1, later - 1)[:, 0] - read).square().sum(dim=-1).mean()
        total = total + settings.momentum_weight * apart
    return total + settings.residual_weight * _residual_size(dynamics, rolled)


def draw_later(momentum, horizon, draw):
    """Where, in a window, the K predicted frames begin that p is read from again: (1,)."""
    before = momentum.n_frames
    return torch.tensor([before + int(draw.integers(horizon - before)) if horizon > before else before])


def _roll(dynamics, momentum, q, u):
    """From the K first places of windows on: (B, horizon + 1, D)."""
    before = momentum.n_frames
    p = momentum(q[:, :before], u[:, : before - 1])
    return dynamics.rollout(torch.cat([q[:, before - 1], p], dim=-1), u[:, before - 1 :])


def _residual_size(dynamics, states):
    residual = getattr(dynamics, "residual", None)
    return 0.0 if residual is None else residual(*states.chunk(2, dim=-1)).square().sum(dim=-1).mean()


def draw_windows(episodes, actions, length, n, draw):
    """`n` random windows of `length` neighbouring frames, and the actions between them."""
    which = torch.from_numpy(draw.integers(len(episodes), size=n))[:, None]
    first = torch.from_numpy(draw.integers(episodes.shape[1] - length + 1, size=n))
    when = first[:, None] + torch.arange(length)
    return episodes[which, when], actions[which, when[:, :-1]]


def horizon_at(step, settings):
    """The horizon of a step: `horizons` in turn, each for an equal share of all steps."""
    return settings.horizons[
        min(step * len(settings.horizons) // settings.n_steps, len(settings.horizons) - 1)
    ]


def one_cycle(step, n_steps, peak, rise=0.2):
    """A rate that rises from peak / 25 and falls to nearly 0, along cosines (Smith & Topin, 2019)."""
    at = (step + 0.5) / n_steps
    if at < rise:
        return peak * (0.04 + 0.96 * (1 - math.cos(math.pi * at / rise)) / 2)
    return peak * max((1 + math.cos(math.pi * (at - rise) / (1 - rise))) / 2, 1e-5)


def check_windows(episodes, actions, length):
    """`ValueError` for episodes too short for windows, and actions that are not one between two frames."""
    n, n_times = episodes.shape[:2]
    if n_times < length:
        raise ValueError(
            f"training needs episodes of {length} frames or more, got {n_times}: ask for fewer ahead"
        )
    if actions.ndim != 3 or actions.shape[:2] != (n, n_times - 1):
        raise ValueError(
            f"actions must be ({n}, {n_times - 1}, A), one between two frames, got {tuple(actions.shape)}"
        )
    if not actions.isfinite().all():
        raise ValueError("actions must be finite, got NaN or infinity")


def _loop(loss, modules, settings, data, seed, checkpoint, label, name):
    """Adam under `one_cycle`, gradients clipped at 1; a step draws from a seed of its own."""
    seed = whole_number(seed, "seed")
    parameters = [p for module in modules.values() for p in module.parameters()]
    optimiser = torch.optim.Adam(parameters, settings.lr)
    history, made_from, file = [], {}, None
    if checkpoint:
        file = Path(checkpoint) / f"{name}.safetensors"
        made_from = of_training(settings, seed, modules, loss, _loop) | {"the data": hash_tensors(data)}
    for step in resumable(
        file, settings.n_steps, fingerprint=made_from, history=history, modules=modules,
        optimisers={"Adam": optimiser}, every=50, label=label, shown=("loss",),
    ):  # fmt: skip
        lr = optimiser.param_groups[0]["lr"] = one_cycle(step, settings.n_steps, settings.lr)
        total = loss(step, np.random.default_rng([seed, step]))
        if not total.isfinite():
            raise ValueError(f"{label}: the loss of step {step} is {total.item()} (lr {lr:.3g}): lower lr")
        optimiser.zero_grad()
        total.backward()
        clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        history.append({"loss": total.item(), "lr": lr})
    return history
