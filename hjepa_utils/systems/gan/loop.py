"""One loop for the trainings of this system: resumable, with a running average and models kept on the way."""

import copy
from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from ...runs.checkpoints import resumable
from ...runs.checks import check_whole, checked_seed
from ...runs.files import ArtifactError, explain_write_error
from ...runs.fingerprint import of_training
from ...runs.hardware import pick_encoder_dtype
from ...simulators.checks import check_count
from .checks import check_kind
from .data import ToyVideos


def train(
    update, modules, optimisers, videos, settings, *, seed, n_updates, checkpoint, keep, watch, save_every,
    label, shown,
):  # fmt: skip
    """`update(step, rng)` again and again; every one draws from a seed of its own, so that the first ones
    of a longer training are a shorter one."""
    seed, model = checked_seed(seed), modules["model"]
    _check(modules, videos, n_updates, checkpoint, keep, watch, save_every)
    average, history, made_from, file = copy.deepcopy(model), [], {}, None
    if checkpoint:
        file = Path(checkpoint) / "training.safetensors"
        made_from = of_training(settings, seed, modules, update, train) | {
            "arithmetic": str(pick_encoder_dtype(next(model.parameters()).device)),
            "the videos": videos.fingerprint(),
        }
    for module in (*modules.values(), average):
        module.train()
    for step in resumable(
        file, n_updates, fingerprint=made_from, history=history,
        modules=modules | {"average": average}, optimisers=optimisers, every=save_every,
        label=label, unit="update", shown=shown,
    ):  # fmt: skip
        losses = update(step, np.random.default_rng([seed, step]))
        losses = {name: loss.item() for name, loss in losses.items()}
        if not np.isfinite(list(losses.values())).all():
            raise ValueError(f"{label}: a loss of update {step + 1} is not finite ({losses})")
        follow(average, model, min(settings.average, 1 - 1 / (step + 1)))
        history.append(losses)
        if checkpoint and step + 1 in keep:
            model.save_pretrained(_kept(checkpoint, step + 1, averaged=False))
            average.save_pretrained(_kept(checkpoint, step + 1, averaged=True))
        if watch:
            watch(step + 1, average)
    _check_kept(checkpoint, keep, n_updates)
    return average.eval(), history


def _check(modules, videos, n_updates, checkpoint, keep, watch, save_every):
    """One sentence before the first update for what would fail after some, or pass unseen."""
    check_kind("videos", videos, ToyVideos)
    check_whole(0, n_updates=n_updates)
    check_count(save_every=save_every)
    if isinstance(keep, str) or not isinstance(keep, Collection):
        raise TypeError(f"keep must be the numbers of updates, such as (1000, 2000), got {keep!r:.60}")
    for update in keep:
        check_count(keep=update)
    if keep and not checkpoint:
        raise ValueError("keep needs a folder to keep models in: name a checkpoint")
    if not (watch is None or callable(watch)):
        raise TypeError(f"watch must be a function of (update, average), got {watch!r:.60}")
    _check_trainable(modules["model"])
    if checkpoint:
        with explain_write_error(checkpoint, "name a folder that can be written"):
            Path(checkpoint).expanduser().mkdir(parents=True, exist_ok=True)


def _check_trainable(model):
    """`ValueError` for a model without gradients, or of other numbers than float32."""
    parameters = list(model.parameters())
    if not torch.is_grad_enabled():
        raise ValueError("training needs gradients: call it outside no_grad and inference_mode")
    if not any(parameter.requires_grad for parameter in parameters):
        raise ValueError("the model has only frozen parameters: use requires_grad_()")
    if others := [one.dtype for one in parameters if one.dtype != torch.float32]:
        raise ValueError(f"the model must be of torch.float32, got {others[0]}: use .float()")


def _check_kept(checkpoint, keep, n_updates):
    """`ArtifactError` if an earlier call has passed an update without keeping its models."""
    missing = [u for u in keep if checkpoint and u <= n_updates and not _kept(checkpoint, u, True).exists()]
    if missing:
        raise ArtifactError(
            f"the training in {checkpoint} was past update {missing[0]} before its models were asked for: "
            "keep others, or name another folder"
        )


@torch.no_grad()
def follow(average, model, decay):
    """average ← decay · average + (1 - decay) · model, running means of batches too: those of the averaged
    weights lag as these do."""
    of_average, of_model = (module.state_dict().values() for module in (average, model))
    for mine, its in zip(of_average, of_model, strict=True):
        mine.lerp_(its, 1 - decay)


def kept_model(kind, checkpoint, update, *, averaged=True):
    """The model of class `kind` as it was after an update named in `keep`."""
    return kind.from_pretrained(_kept(checkpoint, update, averaged))


def _kept(checkpoint, update, averaged):
    return Path(checkpoint).expanduser() / f"after-{update}" / ("averaged" if averaged else "raw")


def descend(optimiser, loss, max_norm=None):
    """One step down the loss, with the gradient no longer than `max_norm`."""
    optimiser.zero_grad()
    loss.backward()
    if max_norm:
        clip_grad_norm_(optimiser.param_groups[0]["params"], max_norm)
    optimiser.step()
