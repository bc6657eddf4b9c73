"""Training of the GANs and of HGN: resumable, the same bits by the same seed, a window of models kept."""

import copy
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from ...runs.checkpoints import resumable
from ...runs.checks import checked_seed
from ...runs.files import ArtifactError
from ...runs.fingerprint import hash_code, hash_tensors
from ...runs.hardware import pick_encoder_dtype
from .losses import Geco, cross_entropy, cyclic_loss, divergence, r1_penalty
from .networks import to_unit


@dataclass(frozen=True)
class GANSettings:
    """Stabilised, for all GANs alike; `PUBLISHED` are the paper's."""

    n_updates: int = 10_000
    batch_size: int = 16
    n_frames: int = 16
    generator_lr: float = 4e-4
    discriminator_lr: float = 2e-4
    real_label: float = 0.9
    r1: float = 10.0  # γ
    r1_every: int = 4  # updates, with γ so much larger (Karras et al., 2020)
    cyclic: float = 0.0  # λ of the cyclic-coordinate loss, 0.01 in HGAN
    average: float = 0.99  # what stays of the averaged weights in an update


PUBLISHED = {"generator_lr": 2e-4, "r1": 0.0}  # with Discriminators(batch_norm=True, minibatch=False)


@dataclass(frozen=True)
class HGNSettings:
    n_updates: int = 10_000
    batch_size: int = 16
    n_frames: int = 16
    lr: float = 1e-3
    tolerance: float = 0.033  # of a pixel's deviation, in 0 … 1
    max_norm: float = 1.0
    average: float = 0.99


def fit_gan(
    model, discriminators, videos, *, seed, checkpoint=None, keep=(), watch=None, label="training",
    save_every=200, **settings,
):  # fmt: skip
    """Train a `VideoGAN` against `Discriminators` on `ToyVideos`; returns its average and a history.

    `model` is trained in place, on the device where it lies; the first value returned is the running average
    of its weights, the second a list with a dict per update: the losses. With a folder `checkpoint` the
    training goes on where it stopped, having saved its state after every `save_every` updates, and both
    models are saved there after each update named in `keep` (`kept_model`). `watch(update, average)` is
    called after each update and changes nothing. `settings` are the fields of `GANSettings`. Raises
    `ValueError` for a loss that is not finite, for `cyclic` with a motion that has no momenta, and for
    discriminators of another number of frames.
    """
    settings = GANSettings(**settings)
    if settings.cyclic and not hasattr(model.motion, "momentum_rates"):
        raise ValueError(f"{model.name} has no momenta that could be cyclic: use cyclic=0")
    if discriminators.n_frames != settings.n_frames:
        raise ValueError(
            f"the discriminators take {discriminators.n_frames} frames, the settings say {settings.n_frames}"
        )
    kind = {"betas": (0.5, 0.999)}
    optimisers = {
        "generator": torch.optim.Adam(model.parameters(), settings.generator_lr, **kind),
        "discriminators": torch.optim.Adam(discriminators.parameters(), settings.discriminator_lr, **kind),
    }

    def update(step, rng):
        real, noise = _batch(model, videos, settings, rng)
        with _fast(real.device):
            made, states = model.imagine(noise, settings.n_frames)
        made, shown = made.float(), rng.integers(settings.n_frames, size=2)
        losses = _discriminate(discriminators, real, made.detach(), shown[0], settings, step)
        _descend(optimisers["discriminators"], losses["image"] + losses["video"] + losses.pop("r1"))
        discriminators.requires_grad_(False)  # their gradients are not wanted here
        with _fast(real.device):
            deceived = discriminators.image(made[:, shown[1]]), discriminators.video(made)
        losses |= {f"generator_{kind}": cross_entropy(logits, settings.real_label)
                   for kind, logits in zip(("image", "video"), deceived, strict=True)}  # fmt: skip
        total = losses["generator_image"] + losses["generator_video"]
        if settings.cyclic:
            losses["cyclic"] = settings.cyclic * cyclic_loss(model.motion.momentum_rates(states[:, 1:]))
            total = total + losses["cyclic"]
        _descend(optimisers["generator"], total)
        discriminators.requires_grad_(True)
        return losses

    modules, shown = {"model": model, "discriminators": discriminators}, ("video", "generator_video")
    how = {"seed": seed, "checkpoint": checkpoint, "keep": keep, "watch": watch, "save_every": save_every}
    return _loop(update, modules, optimisers, videos, settings, label=label, shown=shown, **how)


def fit_hgn(
    model, videos, *, seed, checkpoint=None, keep=(), watch=None, label="training", save_every=200, **settings
):
    """The same for an `HGN`, with the fields of `HGNSettings`: λ (E - tolerance²) + KL per number of a video.

    E is the mean squared deviation of a pixel in 0 … 1, and λ is `Geco`'s.
    """
    settings = HGNSettings(**settings)
    geco = Geco(settings.tolerance).to(next(model.parameters()).device)
    optimiser = torch.optim.Adam(model.parameters(), settings.lr)

    def update(step, rng):
        real, noise = _batch(model, videos, settings, rng)
        with _fast(real.device):
            mean, log_variance = model.encode(real)
            latent = mean + (log_variance / 2).exp() * noise
            made, _ = model.imagine(latent, settings.n_frames)
        error = ((made.float() - real) / 2).square().mean()
        nats = divergence(mean, log_variance)
        losses = {"error": error, "divergence": nats, "weight": geco.weight.clone()}
        _descend(optimiser, geco(error) + nats / real[0].numel(), model, settings.max_norm)
        return losses

    modules, optimisers, shown = {"model": model, "geco": geco}, {"Adam": optimiser}, ("error", "divergence")
    how = {"seed": seed, "checkpoint": checkpoint, "keep": keep, "watch": watch, "save_every": save_every}
    return _loop(update, modules, optimisers, videos, settings, label=label, shown=shown, **how)


def kept_model(kind, checkpoint, update, *, averaged=True):
    """The model of class `kind` as it was after an update named in `keep`."""
    return kind.from_pretrained(_kept(checkpoint, update, averaged))


def _kept(checkpoint, update, averaged):
    return Path(checkpoint).expanduser() / f"after-{update}" / ("averaged" if averaged else "raw")


def _batch(model, videos, settings, rng):
    """Real pictures in -1 … 1 and noise, on the model's device."""
    frames = videos.frames(rng, settings.batch_size, settings.n_frames)
    noise = model.draw_noise(settings.batch_size, rng)
    return to_unit(frames.to(noise.device)), noise


def _discriminate(discriminators, real, made, shown, settings, step):
    """How well real and made videos, and the frame `shown` of each, are told apart."""
    losses, gradients = {}, real.new_zeros(())
    views = {
        "image": (discriminators.image, real[:, shown], made[:, shown]),
        "video": (discriminators.video, real, made),
    }
    for kind, (discriminator, true, false) in views.items():
        with _fast(real.device):
            logits = discriminator(true), discriminator(false)
        losses[kind] = cross_entropy(logits[0], settings.real_label) + cross_entropy(logits[1], 0.0)
        if settings.r1 and step % settings.r1_every == 0:
            gradients = gradients + settings.r1_every * settings.r1 / 2 * r1_penalty(discriminator, true)
    return losses | {"r1": gradients}


def _descend(optimiser, loss, model=None, max_norm=None):
    optimiser.zero_grad()
    loss.backward()
    if max_norm:
        clip_grad_norm_(model.parameters(), max_norm)
    optimiser.step()


def _fast(device):
    """bf16 where it is multiplied fast; fp16 would need its losses scaled."""
    fast = pick_encoder_dtype(device) == torch.bfloat16
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)


def _loop(
    update, modules, optimisers, videos, settings, *, seed, checkpoint, keep, watch, save_every, label, shown
):
    """`update(step, rng)` again and again; every one draws from a seed of its own."""
    seed, model = checked_seed(seed), modules["model"]
    average, history, made_from, file = copy.deepcopy(model), [], {}, None
    if checkpoint:
        file = Path(checkpoint) / "training.safetensors"
        made_from = asdict(settings) | {
            "seed": seed,
            "arithmetic": str(pick_encoder_dtype(next(model.parameters()).device)),
            "the videos": videos.fingerprint(),
            "the model or its code": hash_code(*modules.values()),
            "the initial weights": [hash_tensors(module.state_dict()) for module in modules.values()],
            "the code of the training": hash_code(update, _loop),
        }
    for module in (*modules.values(), average):
        module.train()
    for step in resumable(
        file, settings.n_updates, fingerprint=made_from, history=history,
        modules=modules | {"average": average}, optimisers=optimisers, every=save_every,
        label=label, unit="update", shown=shown,
    ):  # fmt: skip
        losses = update(step, np.random.default_rng([seed, step]))
        losses = {name: loss.item() for name, loss in losses.items()}
        if not np.isfinite(list(losses.values())).all():
            raise ValueError(f"{label}: a loss of update {step + 1} is not finite ({losses})")
        _follow(average, model, min(settings.average, 1 - 1 / (step + 1)))
        history.append(losses)
        if checkpoint and step + 1 in keep:
            model.save_pretrained(_kept(checkpoint, step + 1, averaged=False))
            average.save_pretrained(_kept(checkpoint, step + 1, averaged=True))
        if watch:
            watch(step + 1, average)
    _check_kept(checkpoint, keep, settings.n_updates)
    return average.eval(), history


def _check_kept(checkpoint, keep, n_updates):
    """`ArtifactError` if an earlier call has passed an update without keeping its models."""
    missing = [u for u in keep if checkpoint and u <= n_updates and not _kept(checkpoint, u, True).exists()]
    if missing:
        raise ArtifactError(
            f"the training in {checkpoint} was past update {missing[0]} before its models were asked for: "
            "keep others, or name another folder"
        )


@torch.no_grad()
def _follow(average, model, decay):
    """average ← decay · average + (1 - decay) · model; running means of batches as they are."""
    for mine, its in zip(average.parameters(), model.parameters(), strict=True):
        mine.lerp_(its, 1 - decay)
    for mine, its in zip(average.buffers(), model.buffers(), strict=True):
        mine.copy_(its)
