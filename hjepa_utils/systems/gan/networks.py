"""Pictures from latents, and what tells generated pictures and videos from real ones.

The shapes of DCGAN and MoCoGAN (Radford et al., 2016; Tulyakov et al., 2018) at 32 × 32 px. Pictures are
in -1 … 1, as tanh gives them.
"""

from contextlib import contextmanager

import torch
from torch import nn

from ...simulators.checks import check_count
from ...simulators.toy_pictures import SIZE


@contextmanager
def evaluating(model):
    """Batch norms as in use; as they were afterwards."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


class PictureGenerator(nn.Module):
    """`forward(w)`: latents (…, latent_dim) → pictures (…, 3, 32, 32) in -1 … 1."""

    def __init__(self, latent_dim, channels=32):
        super().__init__()
        c = channels
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(latent_dim, 4 * c, 4, bias=False), nn.BatchNorm2d(4 * c), nn.ReLU(),
            nn.ConvTranspose2d(4 * c, 2 * c, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * c), nn.ReLU(),
            nn.ConvTranspose2d(2 * c, c, 4, 2, 1, bias=False), nn.BatchNorm2d(c), nn.ReLU(),
            nn.ConvTranspose2d(c, 3, 4, 2, 1), nn.Tanh(),
        )  # fmt: skip
        for layer in self.layers:
            if isinstance(layer, nn.ConvTranspose2d):
                nn.init.normal_(layer.weight, 0.0, 0.02)
        self.layers.to(memory_format=torch.channels_last)  # a sixth of an update less, on a CPU

    def forward(self, w):
        pictures = self.layers(w.reshape(-1, w.shape[-1], 1, 1))
        return pictures.reshape(*w.shape[:-1], 3, SIZE, SIZE)


class MinibatchDeviation(nn.Module):
    """One channel more, the standard deviation over the batch, averaged: (B, C, …) → (B, C + 1, …).

    By it a discriminator sees that samples are all alike (Karras et al., 2018).
    """

    def forward(self, x):
        spread = (x.float().var(dim=0, correction=0) + 1e-8).sqrt().mean()  # its slope is finite at 0
        return torch.cat([x, spread.to(x.dtype).expand(len(x), 1, *x.shape[2:])], dim=1)


class Discriminators(nn.Module):
    """`image` (B, 3, 32, 32) → (B,) and `video` (B, n_frames, 3, 32, 32) → (B,), logits of being real.

    `batch_norm=True, minibatch=False` are as published. `n_frames` is a multiple of 8.
    """

    def __init__(self, n_frames=16, channels=32, *, batch_norm=False, minibatch=True):
        super().__init__()
        check_count(n_frames=n_frames, channels=channels)
        if n_frames < 8 or n_frames % 8:
            raise ValueError(f"the video discriminator takes 8, 16, 24 … frames, got {n_frames}")
        image = _convolutions(nn.Conv2d, nn.BatchNorm2d, channels, 16, batch_norm, minibatch)
        video = _convolutions(nn.Conv3d, nn.BatchNorm3d, channels, 2 * n_frames, batch_norm, minibatch)
        self.n_frames = n_frames
        self.image_layers, self.video_layers = nn.Sequential(*image), nn.Sequential(*video)

    def image(self, pictures):
        _check(pictures, (3, SIZE, SIZE))
        return self.image_layers(pictures).squeeze(-1)

    def video(self, frames):
        _check(frames, (self.n_frames, 3, SIZE, SIZE))
        return self.video_layers(frames.transpose(1, 2)).squeeze(-1)


def _convolutions(convolution, norm, c, n_places, batch_norm, minibatch):
    """Three of stride 2, each with twice the channels, and a linear layer of what is left of the picture."""
    layers = [convolution(3, c, 4, 2, 1), nn.LeakyReLU(0.2)]
    for before, after in ((c, 2 * c), (2 * c, 4 * c)):
        layers.append(convolution(before, after, 4, 2, 1, bias=not batch_norm))
        layers += [norm(after)] if batch_norm else []
        layers.append(nn.LeakyReLU(0.2))
    layers += [MinibatchDeviation()] if minibatch else []
    return [*layers, nn.Flatten(), nn.Linear((4 * c + minibatch) * n_places, 1)]


def _check(given, shape):
    if given.shape[1:] != shape:
        raise ValueError(f"this discriminator takes {('B', *shape)}, got {tuple(given.shape)}")


def with_float_counts(module):
    """Let batch norms count batches in floats, for a `SavedModel` holds tensors of one dtype."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.num_batches_tracked = torch.zeros(())


def to_unit(frames):
    """uint8 0 … 255 → float32 -1 … 1."""
    return frames.float() / 127.5 - 1


def to_bytes(pictures):
    """-1 … 1 → uint8 0 … 255, rounded."""
    return (pictures.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
