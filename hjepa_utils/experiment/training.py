"""Losses, curriculum and the training loop of the paper's §3.4 and §4.4."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from ..runs.checkpoints import restore_training, save_training
from .ensemble import Stacked, can_stack, clip_each, stack
from .evaluation import rollout_errors


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


def fit(
    dynamics,
    train_windows,
    test_windows,
    *,
    n_epochs,
    seed,
    batch_size=32,
    lr=1e-3,
    min_lr=1e-5,
    weight_decay=1e-5,
    max_norm=1.0,
    energy_schedule=energy_weight,
    checkpoint=None,
    label="",
):
    """Train in place with AdamW (table 1); the model of the last epoch is the result.

    `energy_schedule(epoch, n_epochs)` gives λ. Gradients are clipped to `max_norm` for the network
    and for dt separately; batches that are not full are dropped, as published. `checkpoint` is a
    folder: after every epoch the state is saved there, and a later call with the same arguments
    goes on from it and ends with the same bits. Test windows are only watched, never chosen by.

    Returns a list with a dict per epoch: epoch, lr, energy_weight, loss, prediction, energy,
    test_mse and, if the model has one, dt. For models of `seeds.stack`, `seed` is a list and the
    last five are lists. Raises `ValueError` for NaN or infinity in the windows.
    """
    for name, windows in (("training", train_windows), ("test", test_windows)):
        if not windows.isfinite().all():
            raise ValueError(f"the {name} windows hold NaN or infinity: encode the videos again")
    optimiser = torch.optim.AdamW(dynamics.parameters(), lr=lr, weight_decay=weight_decay)
    file = Path(checkpoint) / "training.safetensors" if checkpoint else None
    history = restore_training(file, dynamics, optimiser) if file else []
    batch_size = min(batch_size, len(train_windows))
    if isinstance(dynamics, Stacked):
        test_windows = test_windows.expand(len(seed), *test_windows.shape)
    progress = tqdm(range(len(history) + 1, n_epochs + 1), desc=label, unit="epoch")
    for epoch in progress:
        optimiser.param_groups[0]["lr"] = cosine_lr(epoch, n_epochs, lr, min_lr)
        weight = energy_schedule(epoch, n_epochs)
        order = _batches(len(train_windows), batch_size, seed, epoch).to(train_windows.device)
        losses = _train_epoch(dynamics, optimiser, train_windows, order, weight, max_norm)
        history.append(
            {"epoch": epoch, "lr": optimiser.param_groups[0]["lr"], "energy_weight": weight}
            | dict(zip(("loss", "prediction", "energy"), losses.tolist(), strict=True))
            | {"test_mse": rollout_errors(dynamics, test_windows).mean(dim=(-2, -1)).tolist()}
            | ({"dt": dynamics.clamped_dt.tolist()} if hasattr(dynamics, "clamped_dt") else {})
        )
        progress.set_postfix(test_mse=f"{np.mean(history[-1]['test_mse']):.3f}")
        if file:
            save_training(file, dynamics, optimiser, history)
    return history


def fit_seeds(models, train_windows, test_windows, *, seeds, **settings):
    """`fit` for models of one arm at once, each as if it were trained alone with its seed.

    Returns a list with the history of each. Raises `ValueError` for models of different kinds or
    sizes, or if there is not one seed for each.
    """
    if len(models) != len(seeds):
        raise ValueError(f"one seed per model is needed, got {len(seeds)} for {len(models)} models")
    stacked = stack(models)
    rows = fit(stacked, train_windows, test_windows, seed=list(seeds), **settings)
    stacked.copy_to(models)
    return [
        [{k: v[index] if isinstance(v, list) else v for k, v in row.items()} for row in rows]
        for index in range(len(models))
    ]


def fit_arm(models, train_windows, test_windows, *, seeds, checkpoint, label, **settings):
    """`fit` for the models of one arm, one per seed; the states of all are kept under `checkpoint`.

    On a GPU, kinds that `seeds.can_stack` are trained together by `fit_seeds`. On a CPU that gains
    little for few seeds, and the models are trained one after another. Returns a list with the
    history of each.
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


def _batches(n, batch_size, seed, epoch):
    """Shuffled full batches of indices, (n_batches, …, batch_size); the order follows seed and epoch."""
    if isinstance(seed, list):
        return torch.stack([_batches(n, batch_size, one, epoch) for one in seed], dim=1)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(1_000_003 * seed + epoch))
    return order[: n // batch_size * batch_size].view(-1, batch_size)


def _train_epoch(dynamics, optimiser, windows, batches, weight, max_norm):
    """One pass over the batches; the mean of the three losses, (3, …)."""
    network = [p for name, p in dynamics.named_parameters() if name != "dt"]
    clip = clip_each if isinstance(dynamics, Stacked) else clip_grad_norm_
    total = 0
    for batch in batches:
        losses = rollout_loss(dynamics, windows[batch], weight)
        optimiser.zero_grad()
        losses.total.sum().backward()
        clip(network, max_norm)
        if hasattr(dynamics, "dt"):
            clip([dynamics.dt], max_norm)
        optimiser.step()
        total = total + torch.stack(losses).detach()
    return total / len(batches)
