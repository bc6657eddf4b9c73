"""Losses, curriculum and the training loop of the paper's §3.4 and §4.4."""

import math
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from ..dynamics.fixed_point import NotConverged
from ..runs.checkpoints import resumable
from ..runs.fingerprint import hash_code, hash_sources, hash_tensors
from .ensemble import can_stack, clip_each, stack
from .evaluation import rollout_errors
from .updates import Updates

_DYNAMICS = Path(__file__).parents[1] / "dynamics"
_UPDATES = Path(__file__).with_name("updates.py")
_RAN_AWAY = 10  # times the prediction loss of epoch 1: the curriculum of λ raises it less


class RolloutLoss(NamedTuple):
    """Scalars: eq. 5, eq. 6 and eq. 7."""

    total: torch.Tensor
    prediction: torch.Tensor
    energy: torch.Tensor


def rollout_loss(dynamics, windows, energy_weight):
    """L = L_pred + λ L_energy over windows (B, T, D), rolled out from their first latent (eq. 5–7).

    L_pred is the mean over batch, steps 1 … T-1 and dimensions, as in the published code (eq. 6 has
    the sum over dimensions); L_energy is relative to z_0. A model without energies has L_energy = 0.
    For stacked models, windows and losses have one more dimension in front.
    """
    z0, n_steps = windows[..., 0, :], windows.shape[-2] - 1
    if hasattr(dynamics, "rollout_with_energy"):
        predicted, energies = dynamics.rollout_with_energy(z0, n_steps)
        energy = (energies - energies[..., :1]).abs().mean(dim=(-2, -1))
    else:
        predicted = dynamics.rollout(z0, n_steps)
        energy = torch.zeros(windows.shape[:-3], device=windows.device)
    prediction = (predicted - windows)[..., 1:, :].square().mean(dim=(-3, -2, -1))
    return RolloutLoss(prediction + energy_weight * energy.to(prediction), prediction, energy)


def energy_weight(epoch, n_epochs):
    """λ of epoch 1 … n_epochs: linear from 0.1 to 1.0 (§3.4)."""
    return 0.1 + 0.9 * (epoch - 1) / max(n_epochs - 1, 1)


def cosine_lr(epoch, n_epochs, highest=1e-3, lowest=1e-5):
    """The learning rate during epoch 1 … n_epochs, as `CosineAnnealingLR` gives it (table 1)."""
    return lowest + (highest - lowest) * (1 + math.cos(math.pi * (epoch - 1) / n_epochs)) / 2


@dataclass(frozen=True)
class FitSettings:
    """The keywords of `fit`; the defaults are table 1's.

    `energy_schedule(epoch, n_epochs)` gives λ of epoch 1 … n_epochs. Gradients are clipped to
    `max_norm` for the network and for dt separately.
    """

    n_epochs: int
    batch_size: int = 32
    lr: float = 1e-3
    min_lr: float = 1e-5
    weight_decay: float = 1e-5
    max_norm: float = 1.0
    energy_schedule: object = energy_weight

    def __post_init__(self):
        self._convert("a whole number", index, "n_epochs", "batch_size")
        self._convert("a number", float, "lr", "min_lr", "weight_decay", "max_norm")
        if self.n_epochs < 0 or self.batch_size < 1:
            raise ValueError(
                f"n_epochs must be from 0 and batch_size from 1, got {self.n_epochs} and {self.batch_size}"
            )
        for name in ("lr", "min_lr", "weight_decay", "max_norm"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be finite and not negative, got {getattr(self, name)}")

    def _convert(self, wanted, convert, *names):
        """NumPy's and torch's numbers are as good as Python's; the dataclass is frozen for its users."""
        for name in names:
            value = getattr(self, name)
            try:
                if isinstance(value, str):
                    raise TypeError("a text is no number")
                object.__setattr__(self, name, convert(value))
            except TypeError as error:
                raise TypeError(f"{name} must be {wanted}, got {value!r}") from error

    def energy_weights(self):
        """λ of every epoch, as floats; one that draws random numbers gives others at the next call."""
        if not callable(self.energy_schedule):
            raise TypeError(
                "energy_schedule must be a function of (epoch, n_epochs), "
                f"got {self.energy_schedule!r}: write lambda epoch, n_epochs: …"
            )
        weights = [float(self.energy_schedule(epoch, self.n_epochs)) for epoch in range(1, self.n_epochs + 1)]
        for epoch, weight in enumerate(weights, 1):
            if not math.isfinite(weight):
                raise ValueError(f"energy_schedule gives {weight} in epoch {epoch}: λ must be finite")
        return weights


def fit(dynamics, train_windows, test_windows, *, seed, checkpoint=None, label="", **settings):
    """Train in place with AdamW; the model of the last epoch is the result.

    `settings` are the fields of `FitSettings`: n_epochs, batch_size, lr, … Windows are tensors
    (n, T, D), T ≥ 2, on the model's device and of its dtype. Batches that are not full are dropped, as
    published. `checkpoint` is a folder: after every epoch the state is saved there, and a later call with
    the same arguments, model and code goes on from it and ends with the same bits; any other begins anew
    beside it and says so. Test windows are only watched, never chosen by, with the model in `eval`.
    A model that draws random numbers, as dropout does, takes them from torch's own generator, which is
    not kept: its training depends on what was drawn before.

    Returns a list with a dict per epoch: epoch, lr, energy_weight, loss, prediction, energy,
    test_mse and, if the model has one, dt. Raises `ValueError` for settings and windows that cannot be
    trained with, and for a loss that is not finite, in its epoch; the state before it is kept. Warns
    of a prediction loss that ends ten times above that of epoch 1.
    """
    settings, seed = FitSettings(**settings), index(seed)
    _check(dynamics, train_windows, test_windows)

    def draw(epoch):
        return _batches(len(train_windows), settings.batch_size, seed, epoch)

    made_from = _made_from([dynamics], train_windows, test_windows, [seed], settings)
    keep = (_state_in(checkpoint), label, made_from)
    return _train(dynamics, train_windows, test_windows, settings, draw, clip_grad_norm_, *keep)


def fit_seeds(models, train_windows, test_windows, *, seeds, checkpoint=None, label="", **settings):
    """`fit` for models of one arm at once, each as if it were trained alone with its seed.

    Returns a list with the history of each. Raises `ValueError` as `fit` does, for models of different
    kinds or sizes, or if there is not one seed for each.
    """
    if len(models) != len(seeds):
        raise ValueError(f"one seed per model is needed, got {len(seeds)} for {len(models)} models")
    stacked, settings, seeds = stack(models), FitSettings(**settings), [index(seed) for seed in seeds]
    _check(models[0], train_windows, test_windows)

    def draw(epoch):
        orders = [_batches(len(train_windows), settings.batch_size, seed, epoch) for seed in seeds]
        return torch.stack(orders, dim=1)

    made_from = _made_from(models, train_windows, test_windows, seeds, settings)
    test_windows = test_windows.expand(len(seeds), *test_windows.shape)
    keep = (_state_in(checkpoint), label, made_from)
    rows = _train(stacked, train_windows, test_windows, settings, draw, clip_each, *keep)
    stacked.copy_to(models)
    return [
        [{k: v[model] if isinstance(v, list) else v for k, v in row.items()} for row in rows]
        for model in range(len(models))
    ]


def fit_arm(models, train_windows, test_windows, *, seeds, checkpoint, label, **settings):
    """`fit` for the models of one arm, one per seed; the states of all are kept under `checkpoint`.

    On a GPU, kinds that `can_stack` are trained together by `fit_seeds`. On a CPU that gains little for
    few seeds, and the models are trained one after another. Returns a list with the history of each.
    """
    windows = (train_windows, test_windows)
    if train_windows.is_cuda and can_stack(models[0]):
        together = Path(checkpoint) / f"seeds {' '.join(map(str, seeds))}"
        return fit_seeds(models, *windows, seeds=seeds, checkpoint=together, label=label, **settings)
    return [
        fit(
            model,
            *windows,
            seed=seed,
            checkpoint=Path(checkpoint) / f"seed {seed}",
            label=f"{label}, seed {seed}",
            **settings,
        )
        for model, seed in zip(models, seeds, strict=True)
    ]


def _check(model, train_windows, test_windows):
    """One sentence for what would fail later, or pass unseen."""
    one = next(model.parameters(), None)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        which = "no parameters to train" if one is None else "only frozen parameters: use requires_grad_()"
        raise ValueError(f"{type(model).__name__} has {which}")
    if not torch.is_grad_enabled():
        raise ValueError("training needs gradients: call it outside no_grad and inference_mode")
    for name, windows in (("training", train_windows), ("test", test_windows)):
        if not isinstance(windows, torch.Tensor):
            raise TypeError(
                f"the {name} windows must be a tensor, got {type(windows).__name__}: use torch.tensor"
            )
        if windows.ndim != 3 or len(windows) == 0 or windows.shape[1] < 2:
            shape = tuple(windows.shape)
            raise ValueError(f"the {name} windows must be (n, T, D) with n ≥ 1 and T ≥ 2, got {shape}")
        if (windows.dtype, windows.device) != (one.dtype, one.device):
            mine, its = f"{windows.dtype} on {windows.device}", f"{one.dtype} on {one.device}"
            raise ValueError(f"the {name} windows are {mine}, the model is {its}: use windows.to(…)")
        if not windows.isfinite().all():
            raise ValueError(f"the {name} windows hold NaN or infinity: encode the videos again")
        if windows.shape[2] != train_windows.shape[2]:
            widths = f"{train_windows.shape[2]} and {windows.shape[2]}"
            raise ValueError(
                f"training and test windows have widths {widths}: make them from the same latents"
            )
        try:
            with torch.no_grad(), _watching(model):
                model.rollout(windows[:1, 0], 1)
        except NotConverged:
            pass  # not a matter of the width
        except RuntimeError as error:
            raise ValueError(f"the model takes no latents of width {windows.shape[2]}: {error}") from error


@contextmanager
def _watching(model):
    """`eval` for a while: batch statistics are used and not moved, as they are after the training."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _state_in(folder):
    return Path(folder) / "training.safetensors" if folder else None


def _made_from(models, train_windows, test_windows, seeds, settings):
    """All that decides how the training ends."""
    plain = vars(settings) | {"energy_schedule": settings.energy_weights()}
    weights = [hash_tensors(model.state_dict()) for model in models]
    return plain | {
        "seed": seeds[0] if len(seeds) == 1 else seeds,
        "the model or its code": hash_code(models[0]),
        "the initial weights": weights,
        "the training windows": hash_tensors({"": train_windows}),
        "the test windows": hash_tensors({"": test_windows}),
        "the source of the package": hash_sources(_DYNAMICS, __file__, _UPDATES),
        "the code of the training": hash_code(_train, _batches, clip_each, rollout_errors),
    }


def _batches(n, batch_size, seed, epoch):
    """Shuffled full batches of indices, (n_batches, batch_size); the order follows seed and epoch."""
    batch_size = min(batch_size, n)
    generator = torch.Generator().manual_seed((1_000_003 * seed + epoch) % 2**63)
    order = torch.randperm(n, generator=generator)
    return order[: n // batch_size * batch_size].view(-1, batch_size)


def _train(dynamics, train_windows, test_windows, settings, draw, clip, file, label, made_from):
    """The loop of `fit`; for stacked models, with lists for the numbers that each has of its own."""
    history, weights = [], made_from["energy_schedule"]  # asked once: it may be random
    train_windows = train_windows.detach()
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
        losses = updates.epoch(train_windows, batches, lr, weights[step])
        row = {"epoch": epoch, "lr": lr, "energy_weight": weights[step]}
        row |= dict(zip(("loss", "prediction", "energy"), losses.tolist(), strict=True))
        with _watching(dynamics):
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
    _warn_if_it_grew(history, label or "training")
    return history


def _warn_if_it_grew(history, label):
    """A training that ran away and stayed finite would end as if it were well."""
    if not history:
        return
    first, last = (np.max(row["prediction"]) for row in (history[0], history[-1]))
    if last > _RAN_AWAY * first:
        message = f"{label}: the prediction loss grew from {first:.3g} in epoch 1 to {last:.3g}"
        warnings.warn(f"{message} (lr {history[0]['lr']:.3g}): lower lr", stacklevel=4)
