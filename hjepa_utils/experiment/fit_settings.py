"""What a training is given: settings with the paper's defaults, and windows that it can be trained with."""

import math
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, fields

import torch

from ..dynamics.fixed_point import NotConverged
from ..runs.checks import whole_number


def energy_weight(epoch, n_epochs):
    """λ of epoch 1 … n_epochs: linear from 0.1 to 1.0 (§3.4)."""
    return 0.1 + 0.9 * (epoch - 1) / max(n_epochs - 1, 1)


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
    energy_schedule: Callable[[int, int], float] = energy_weight

    def __post_init__(self):
        self._convert(whole_number, "n_epochs", "batch_size")
        self._convert(_number, "lr", "min_lr", "weight_decay", "max_norm")
        if self.n_epochs < 0 or self.batch_size < 1:
            raise ValueError(
                f"n_epochs must be from 0 and batch_size from 1, got {self.n_epochs} and {self.batch_size}"
            )
        for name in ("lr", "min_lr", "weight_decay", "max_norm"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be finite and not negative, got {getattr(self, name)}")

    def _convert(self, convert, *names):
        """NumPy's and torch's numbers are as good as Python's; the dataclass is frozen for its users."""
        for name in names:
            object.__setattr__(self, name, convert(getattr(self, name), name))

    @classmethod
    def of(cls, given):
        """From {name: value}. Raises `TypeError` for names that are none, and without `n_epochs`."""
        names = [field.name for field in fields(cls)]
        if unknown := [name for name in given if name not in names]:
            raise TypeError(f"{unknown[0]} is no setting of a training; there are: {', '.join(names)}")
        if "n_epochs" not in given:
            raise TypeError("n_epochs is missing: say for how many epochs to train")
        return cls(**given)

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


def _number(value, name):
    try:
        if isinstance(value, str):
            raise TypeError("a text is no number")
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise TypeError(f"{name} must be a number, got {value!r:.60}") from error


def check_windows(model, train_windows, test_windows):
    """`TypeError` or `ValueError`, one sentence, for what would fail later in a training, or pass unseen."""
    one = next(model.parameters(), None)
    if one is None or not any(parameter.requires_grad for parameter in model.parameters()):
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
            with torch.no_grad(), watching(model):
                model.rollout(windows[:1, 0], 1)
        except NotConverged:
            pass  # not a matter of the width
        except RuntimeError as error:
            raise ValueError(f"the model takes no latents of width {windows.shape[2]}: {error}") from error


@contextmanager
def watching(model):
    """`eval` for a while: batch statistics are used and not moved, as they are after the training."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
