"""Losses and the training loop of the paper's §3.4 and §4.4."""

import math
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from ..runs.checkpoints import resumable, steps_done
from ..runs.checks import whole_number
from ..runs.fingerprint import hash_code, hash_tensors
from ..runs.hardware import seeded
from .ensemble import clip_each, stack
from .evaluation import rollout_errors
from .fit_settings import FitSettings, check_windows, watching
from .updates import Updates

_RAN_AWAY = 10  # times the prediction loss of epoch 1: the curriculum of λ raises it less


class RolloutLoss(NamedTuple):
    """Scalars: eq. 5, eq. 6 and eq. 7."""

    total: torch.Tensor
    prediction: torch.Tensor
    energy: torch.Tensor


def rollout_loss(dynamics, windows, energy_weight):
    """L = L_pred + λ L_energy over windows (B, T, D), rolled out from their first latent.

    Equations 5 to 7. L_pred is the mean over batch, steps 1 … T-1 and dimensions, as in the
    published code (eq. 6 has the sum over dimensions); L_energy is relative to z_0. A model
    without energies has L_energy = 0. For stacked models, windows and losses have one more
    dimension in front.
    """
    z0, n_steps = windows[..., 0, :], windows.shape[-2] - 1
    if hasattr(dynamics, "rollout_with_energy"):
        predicted, energies = dynamics.rollout_with_energy(z0, n_steps)
        energy = (energies - energies[..., :1]).abs().mean(dim=(-2, -1))
    else:
        predicted = dynamics.rollout(z0, n_steps)
        energy = torch.zeros(windows.shape[:-3], device=windows.device)
    prediction = (predicted - windows)[..., 1:, :].square().mean(dim=(-3, -2, -1))
    return RolloutLoss(
        prediction + energy_weight * energy.to(prediction),
        prediction,
        energy,
    )


def cosine_lr(epoch, n_epochs, highest=1e-3, lowest=1e-5):
    """The learning rate during epoch 1 … n_epochs, as `CosineAnnealingLR` gives it (table 1)."""
    return lowest + (highest - lowest) * (1 + math.cos(math.pi * (epoch - 1) / n_epochs)) / 2


def fit(dynamics, train_windows, test_windows, *, seed, checkpoint=None, label="", **settings):
    """Train in place with AdamW; the model of the last epoch is the result.

    `settings` are the fields of `FitSettings`: n_epochs, batch_size, lr, … Windows are tensors
    (n, T, D), T ≥ 2, on the model's device and of its dtype. Batches that are not full are dropped, as
    published. `checkpoint` is a folder: after every epoch the state is saved there, and a later call with
    the same arguments, model and code goes on from it and ends with the same bits; any other begins anew
    beside it and says so. Test windows are only watched, never chosen by, with the model in `eval`.
    What the model draws in training, as dropout does, follows seed and epoch too.

    Returns a list with a dict per epoch: epoch, lr, energy_weight, loss, prediction, energy,
    test_mse and, if the model has one, dt. Raises `TypeError` or `ValueError` for settings and windows
    that cannot be trained with, and `ValueError` for a loss that is not finite, in its epoch; the state
    before it is kept. Warns of a prediction loss that ends ten times above that of epoch 1.
    """
    history = finish(prepare(dynamics, train_windows, test_windows, seed, checkpoint, label, **settings))
    warn_if_it_grew(history, label)
    return history


class Prepared(NamedTuple):
    """A training that has been checked and told from every other: what `finish` needs, here or elsewhere."""

    dynamics: torch.nn.Module
    windows: tuple[torch.Tensor, torch.Tensor]
    seed: int
    settings: FitSettings
    weights: list[float]  # λ of every epoch
    file: Path | None
    made_from: dict
    label: str

    def is_finished(self):
        """Whether its last state is kept, so that `finish` only reads it."""
        return self.epochs_done() == self.settings.n_epochs

    def epochs_done(self):
        """How many the state that is kept has behind it."""
        return steps_done(self.file, self.made_from)


def prepare(dynamics, train_windows, test_windows, seed, checkpoint, label, **settings):
    """Raises what `fit` does before its first epoch."""
    settings, seed = FitSettings.of(settings), whole_number(seed, "seed")
    windows = train_windows, test_windows
    check_windows(dynamics, *windows)
    weights = settings.energy_weights()
    keep = _kept(checkpoint, fit, [dynamics], *windows, [seed], settings, weights)
    return Prepared(dynamics, windows, seed, settings, weights, *keep, label)


def finish(prepared):
    """Train in place from where the kept state stands; the history of `fit`, without its warning."""
    dynamics, (train_windows, test_windows), seed, settings, weights, file, made_from, label = prepared

    def draw(epoch):
        return _batches(len(train_windows), settings.batch_size, seed, epoch)

    how = settings, weights, draw, seed, clip_grad_norm_
    return _train(dynamics, train_windows, test_windows, *how, file, made_from, label)


def fit_seeds(models, train_windows, test_windows, *, seeds, checkpoint=None, label="", **settings):
    """`fit` for models of one arm at once, each as if it were trained alone with its seed.

    Returns a list with the history of each. Raises what `fit` does, and `ValueError` for models of
    different kinds or sizes, or if there is not one seed for each.
    """
    if len(models) != len(seeds):
        raise ValueError(f"one seed per model is needed, got {len(seeds)} for {len(models)} models")
    stacked, settings = stack(models), FitSettings.of(settings)
    seeds = [whole_number(seed, "seed") for seed in seeds]
    check_windows(models[0], train_windows, test_windows)
    weights = settings.energy_weights()

    def draw(epoch):
        orders = [_batches(len(train_windows), settings.batch_size, seed, epoch) for seed in seeds]
        return torch.stack(orders, dim=1)

    keep = _kept(checkpoint, fit_seeds, models, train_windows, test_windows, seeds, settings, weights)
    windows = train_windows, test_windows.expand(len(seeds), *test_windows.shape)
    rows = _train(stacked, *windows, settings, weights, draw, seeds[0], clip_each, *keep, label)
    warn_if_it_grew(rows, label)
    stacked.copy_to(models)
    return [
        [{k: v[model] if isinstance(v, list) else v for k, v in row.items()} for row in rows]
        for model in range(len(models))
    ]


def _kept(checkpoint, function, models, train_windows, test_windows, seeds, settings, weights):
    """Where the state of a training by `function` is kept, and all that decides how it ends."""
    if not checkpoint:
        return None, {}
    made_from = vars(settings) | {
        "energy_schedule": weights,
        "seed": seeds[0] if len(seeds) == 1 else seeds,
        "what is trained": [name for name, p in models[0].named_parameters() if p.requires_grad],
        "the model or its code": hash_code(models[0]),
        "the initial weights": [hash_tensors(model.state_dict()) for model in models],
        "the training windows": hash_tensors({"": train_windows}),
        "the test windows": hash_tensors({"": test_windows}),
        "the code of the training": hash_code(function),
    }
    return Path(checkpoint) / "training.safetensors", made_from


def _batches(n, batch_size, seed, epoch):
    """Shuffled full batches of indices, (n_batches, batch_size); the order follows seed and epoch."""
    batch_size = min(batch_size, n)
    generator = torch.Generator().manual_seed(_epoch_seed(seed, epoch))
    order = torch.randperm(n, generator=generator)
    return order[: n // batch_size * batch_size].view(-1, batch_size)


def _epoch_seed(seed, epoch):
    return (1_000_003 * seed + epoch) % 2**63


def _train(
    dynamics, train_windows, test_windows, settings, weights, draw, seed, clip, file, made_from, label
):  # fmt: skip
    """The loop of `fit`; for stacked models, with lists for the numbers that each has of its own.

    `seed` is for what one model draws; stacked ones draw nothing.
    """
    history, train_windows = [], train_windows.detach()
    options = {"lr": settings.lr, "weight_decay": settings.weight_decay, "max_norm": settings.max_norm}
    updates = Updates(dynamics, rollout_loss, clip, **options)
    for step in resumable(
        file, settings.n_epochs, fingerprint=made_from, history=history,
        modules={"model": dynamics}, optimisers={"AdamW": updates.optimiser},
        label=label, unit="epoch", shown=("test_mse",),
    ):  # fmt: skip
        epoch = step + 1
        lr = cosine_lr(epoch, settings.n_epochs, settings.lr, settings.min_lr)
        batches = draw(epoch).to(train_windows.device)
        with seeded(_epoch_seed(seed, epoch)):
            losses = updates.epoch(train_windows, batches, lr, weights[step])
        row = {"epoch": epoch, "lr": lr, "energy_weight": weights[step]}
        row |= dict(zip(("loss", "prediction", "energy"), losses.tolist(), strict=True))
        with watching(dynamics):
            row["test_mse"] = rollout_errors(dynamics, test_windows).mean(dim=(-2, -1)).tolist()
        if hasattr(dynamics, "clamped_dt"):
            row["dt"] = dynamics.clamped_dt.tolist()
        broken = [name for name, value in row.items() if not np.isfinite(value).all()]
        if broken:
            size = train_windows.abs().max().item()
            raise ValueError(
                f"{label or 'training'}: {broken[0]} is not finite in epoch {epoch} (lr {lr:.3g}, windows up "
                f"to {size:.3g} in size): lower lr, or standardise the windows"
            )
        history.append(row)
    return history


def warn_if_it_grew(history, label):
    """A training that ran away and stayed finite would end as if it were well."""
    if not history:
        return
    first, last = (np.max(row["prediction"]) for row in (history[0], history[-1]))
    if last > _RAN_AWAY * first:
        message = f"{label or 'training'}: the prediction loss grew from {first:.3g} in epoch 1 to {last:.3g}"
        warnings.warn(f"{message} (lr {history[0]['lr']:.3g}): lower lr", stacklevel=3)
