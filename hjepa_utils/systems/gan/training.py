"""Training of the GANs and of HGN."""

import math
from dataclasses import dataclass

import torch

from ...runs.checks import check_between, check_whole, settings_of
from ...runs.hardware import fast
from ...simulators.checks import check_count, check_positive
from .checks import check_kind
from .hgn import HGN
from .loop import descend, train
from .losses import Geco, cross_entropy, cyclic_loss, divergence, r1_penalty
from .model import VideoGAN
from .networks import Discriminators, to_unit


@dataclass(frozen=True)
class GANSettings:
    """Stabilised, for all GANs alike; `PUBLISHED` are the paper's."""

    batch_size: int = 16
    n_frames: int = 16
    generator_lr: float = 4e-4
    discriminator_lr: float = 2e-4
    real_label: float = 0.9
    r1: float = 10.0  # γ
    r1_every: int = 4  # updates, with γ so much larger (Karras et al., 2020)
    cyclic: float = 0.0  # λ of the cyclic-coordinate loss, 0.01 in HGAN
    average: float = 0.99  # decay of the running average of the weights

    def __post_init__(self):
        check_whole(2, batch_size=self.batch_size)  # what is normalised over a batch of one says nothing
        check_count(n_frames=self.n_frames, r1_every=self.r1_every)
        check_positive(generator_lr=self.generator_lr, discriminator_lr=self.discriminator_lr)
        check_between(0, math.inf, r1=self.r1, cyclic=self.cyclic)
        check_between(0, 1, real_label=self.real_label, average=self.average)


PUBLISHED = {"generator_lr": 2e-4, "r1": 0.0}  # with Discriminators(batch_norm=True, minibatch=False)


@dataclass(frozen=True)
class HGNSettings:
    batch_size: int = 16
    n_frames: int = 16
    lr: float = 1e-3
    tolerance: float = 0.033  # of a pixel's deviation, in 0 … 1
    max_norm: float = 1.0
    average: float = 0.99

    def __post_init__(self):
        check_count(batch_size=self.batch_size, n_frames=self.n_frames)
        check_positive(lr=self.lr, tolerance=self.tolerance, max_norm=self.max_norm)
        check_between(0, 1, average=self.average)


def fit_gan(
    model, discriminators, videos, *, seed, n_updates=10_000, checkpoint=None, keep=(), watch=None,
    label="training", save_every=200, **settings,
):  # fmt: skip
    """Train a `VideoGAN` against `Discriminators` on `ToyVideos`; returns its average and a history.

    `model` is trained in place, on the device where it lies; the first value returned is the running average
    of its weights, the second a list with a dict per update: the losses. With a folder `checkpoint` the
    training goes on where it stopped, also to more updates than it was begun with: its state is saved after
    every `save_every` updates, and both models after each update named in `keep` (`kept_model`).
    `watch(update, average)` is called after each update and changes nothing. `settings` are the fields of
    `GANSettings`. Raises `ValueError` for a loss that is not finite, for settings out of range, for `cyclic`
    with a motion that has no momenta, and for discriminators of another number of frames; `TypeError` for
    what is of another class, and `OSError` where the folder cannot be written.
    """
    check_kind("model", model, VideoGAN)
    check_kind("discriminators", discriminators, Discriminators)
    settings = settings_of(GANSettings, settings)
    if settings.cyclic and not hasattr(model.motion, "momentum_rates"):
        raise ValueError(f"{model.name} has no momenta that could be cyclic: use cyclic=0")
    if discriminators.n_frames != settings.n_frames:
        raise ValueError(
            f"the discriminators take {discriminators.n_frames} frames, the settings say {settings.n_frames}"
        )
    rates = ((model, settings.generator_lr), (discriminators, settings.discriminator_lr))
    down, up = (
        torch.optim.Adam(module.parameters(), lr, betas=(0.5, 0.999), fused=True) for module, lr in rates
    )

    def update(step, rng):
        real, noise = _batch(model, videos, settings, rng)
        with fast(real.device):
            made, states = model.imagine(noise, settings.n_frames)
        made, shown = made.float(), rng.integers(settings.n_frames, size=2)
        discriminators.requires_grad_(True)  # an update that was interrupted may have left them without
        losses = _discriminate(discriminators, real, made.detach(), shown[0], settings, step)
        descend(up, losses["image"] + losses["video"] + losses.pop("r1"))
        discriminators.requires_grad_(False)  # their gradients are not wanted here
        with fast(real.device):
            deceived = discriminators.image(made[:, shown[1]]), discriminators.video(made)
        losses |= {f"generator_{kind}": cross_entropy(logits, settings.real_label)
                   for kind, logits in zip(("image", "video"), deceived, strict=True)}  # fmt: skip
        total = losses["generator_image"] + losses["generator_video"]
        if settings.cyclic:
            losses["cyclic"] = settings.cyclic * cyclic_loss(model.motion.momentum_rates(states[:, 1:]))
            total = total + losses["cyclic"]
        descend(down, total)
        discriminators.requires_grad_(True)
        return losses

    modules, shown = {"model": model, "discriminators": discriminators}, ("video", "generator_video")
    optimisers = {"generator": down, "discriminators": up}
    how = {
        "seed": seed, "n_updates": n_updates, "checkpoint": checkpoint, "keep": keep, "watch": watch,
        "save_every": save_every, "label": label, "shown": shown,
    }  # fmt: skip
    return train(update, modules, optimisers, videos, settings, **how)


def fit_hgn(
    model, videos, *, seed, n_updates=10_000, checkpoint=None, keep=(), watch=None, label="training",
    save_every=200, **settings,
):  # fmt: skip
    """The same for an `HGN`, with the fields of `HGNSettings`: λ (E - tolerance²) + KL per number of a video.

    E is the mean squared deviation of a pixel in 0 … 1, and λ is `Geco`'s.
    """
    check_kind("model", model, HGN)
    settings = settings_of(HGNSettings, settings)
    if settings.n_frames < model.n_seen:
        raise ValueError(f"n_frames must be {model.n_seen} or more, as HGN sees, got {settings.n_frames}")
    geco = Geco(settings.tolerance).to(next(model.parameters()).device)
    optimiser = torch.optim.Adam(model.parameters(), settings.lr, fused=True)

    def update(step, rng):
        real, noise = _batch(model, videos, settings, rng)
        with fast(real.device):
            mean, log_variance = model.encode(real)
            latent = mean + (log_variance / 2).exp() * noise
            made, _ = model.imagine(latent, settings.n_frames)
        error = ((made.float() - real) / 2).square().mean()
        nats = divergence(mean, log_variance)
        losses = {"error": error, "divergence": nats, "weight": geco.weight.clone()}
        descend(optimiser, geco(error) + nats / real[0].numel(), settings.max_norm)
        return losses

    modules, optimisers, shown = {"model": model, "geco": geco}, {"Adam": optimiser}, ("error", "divergence")
    how = {
        "seed": seed, "n_updates": n_updates, "checkpoint": checkpoint, "keep": keep, "watch": watch,
        "save_every": save_every, "label": label, "shown": shown,
    }  # fmt: skip
    return train(update, modules, optimisers, videos, settings, **how)


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
        with fast(real.device):
            logits = discriminator(true), discriminator(false)
        losses[kind] = cross_entropy(logits[0], settings.real_label) + cross_entropy(logits[1], 0.0)
        if settings.r1 and step % settings.r1_every == 0:
            gradients = gradients + settings.r1_every * settings.r1 / 2 * r1_penalty(discriminator, true)
    return losses | {"r1": gradients}
