"""Losses, curriculum and the training loop of the paper's §3.4 and §4.4."""

import math
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from .checkpoints import restore_training, save_training
from .evaluation import rollout_errors


class RolloutLoss(NamedTuple):
    """Scalars: eq. 5, eq. 6 and eq. 7."""

    total: torch.Tensor
    prediction: torch.Tensor
    energy: torch.Tensor


def rollout_loss(dynamics, windows, energy_weight):
    """L = L_pred + λ L_energy over windows (B, T, D), rolled out from their first latent (eq. 5–7).

    L_pred is the mean over batch, steps 1 … T-1 and dimensions, as in the published code (eq. 6 has
    the sum over dimensions); L_energy is relative to z_0. A model without `energy` has L_energy = 0.
    """
    predicted = dynamics.rollout(windows[:, 0], windows.shape[1] - 1)
    prediction = (predicted[:, 1:] - windows[:, 1:]).square().mean()
    if not hasattr(dynamics, "energy"):
        return RolloutLoss(prediction, prediction, torch.zeros_like(prediction))
    energies = dynamics.energy(predicted)
    energy = (energies - energies[:, :1]).abs().mean()
    return RolloutLoss(prediction + energy_weight * energy, prediction, energy)


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
    test_mse and, if the model has one, dt. Raises `ValueError` for NaN or infinity in the windows.
    """
    for name, windows in (("training", train_windows), ("test", test_windows)):
        if not windows.isfinite().all():
            raise ValueError(f"the {name} windows hold NaN or infinity: encode the videos again")
    optimiser = torch.optim.AdamW(dynamics.parameters(), lr=lr, weight_decay=weight_decay)
    file = Path(checkpoint) / "training.safetensors" if checkpoint else None
    history = restore_training(file, dynamics, optimiser) if file else []
    batch_size = min(batch_size, len(train_windows))
    progress = tqdm(range(len(history) + 1, n_epochs + 1), desc=label, unit="epoch")
    for epoch in progress:
        optimiser.param_groups[0]["lr"] = cosine_lr(epoch, n_epochs, lr, min_lr)
        weight = energy_schedule(epoch, n_epochs)
        losses = _train_epoch(dynamics, optimiser, train_windows, weight, (seed, epoch), batch_size, max_norm)
        history.append(
            {"epoch": epoch, "lr": optimiser.param_groups[0]["lr"], "energy_weight": weight}
            | dict(zip(("loss", "prediction", "energy"), losses, strict=True))
            | {"test_mse": rollout_errors(dynamics, test_windows).mean().item()}
            | ({"dt": dynamics.clamped_dt.item()} if hasattr(dynamics, "clamped_dt") else {})
        )
        progress.set_postfix(test_mse=f"{history[-1]['test_mse']:.3f}")
        if file:
            save_training(file, dynamics, optimiser, history)
    return history


def _train_epoch(dynamics, optimiser, windows, weight, seeds, batch_size, max_norm):
    """One pass over shuffled full batches; the mean of the three losses. The order follows the seeds."""
    seed, epoch = seeds
    order = torch.randperm(len(windows), generator=torch.Generator().manual_seed(1_000_003 * seed + epoch))
    network = [p for name, p in dynamics.named_parameters() if name != "dt"]
    total, n_batches = torch.zeros(3), len(windows) // batch_size
    for batch in order[: n_batches * batch_size].view(n_batches, batch_size):
        losses = rollout_loss(dynamics, windows[batch], weight)
        optimiser.zero_grad()
        losses.total.backward()
        clip_grad_norm_(network, max_norm)
        if hasattr(dynamics, "dt"):
            clip_grad_norm_([dynamics.dt], max_norm)
        optimiser.step()
        total += torch.stack(losses).detach().cpu()
    return (total / n_batches).tolist()
