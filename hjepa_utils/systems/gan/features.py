"""Features of videos, for distances between sets of them.

Published distances use networks trained on films of people. Their weights are not part of this project,
and they see single frames more than motion (Ge et al., CVPR 2024). An encoder trained here on the same
videos says where the bodies are; its last hidden layer holds what tells such videos apart.
"""

from dataclasses import dataclass

import torch
from torch import nn

from ...dynamics.saved import SavedModel
from ...runs.checks import check_between, settings_of
from ...runs.hardware import fast
from ...simulators.checks import check_count, check_positive
from ...simulators.toy_physics import toy_places, toy_system
from ...simulators.toy_pictures import render_toy
from .checks import check_frame_tensor, check_kind
from .data import ToyVideos
from .loop import descend, train
from .networks import to_unit

_TAKEN_TOGETHER = 64  # videos


@dataclass(frozen=True)
class EncoderSettings:
    batch_size: int = 32
    lr: float = 1e-3
    average: float = 0.99

    def __post_init__(self):
        check_count(batch_size=self.batch_size)
        check_positive(lr=self.lr)
        check_between(0, 1, average=self.average)


class VideoEncoder(SavedModel):
    """`forward(pictures)`: (B, 16, 3, 32, 32) in -1 … 1 → places (B, 16, n_bodies, 2), in half pictures.

    `features(frames)` are those of the layer before: uint8 (n, 16, 3, 32, 32) → float32 (n, n_features).
    Untrained it is a control: features of random weights.
    """

    def __init__(self, n_bodies, n_frames=16, channels=16, n_features=64):
        super().__init__()
        check_count(n_bodies=n_bodies, n_frames=n_frames, channels=channels, n_features=n_features)
        if n_frames < 8:
            raise ValueError(f"the encoder takes 8 frames or more, got {n_frames}")
        self._config = {
            "n_bodies": n_bodies, "n_frames": n_frames, "channels": channels, "n_features": n_features,
        }  # fmt: skip
        self.n_frames, c = n_frames, channels
        self.body = nn.Sequential(
            nn.Conv3d(3, c, 4, 2, 1), nn.GELU(), nn.Conv3d(c, 2 * c, 4, 2, 1), nn.GELU(),
            nn.Conv3d(2 * c, 4 * c, 4, 2, 1), nn.GELU(), nn.Flatten(),
            nn.Linear(64 * c * (n_frames // 8), n_features), nn.Tanh(),
        )  # fmt: skip
        self.head = nn.Linear(n_features, n_frames * n_bodies * 2)
        self.shape = (n_frames, n_bodies, 2)

    def config(self):
        return self._config

    def forward(self, pictures):
        return self.head(self._features(pictures)).unflatten(-1, self.shape)

    @torch.no_grad()
    def features(self, frames):
        check_frame_tensor(frames)
        device = self.head.weight.device
        parts = [self._features(to_unit(part.to(device))).cpu() for part in frames.split(_TAKEN_TOGETHER)]
        return torch.cat(parts)

    def _features(self, pictures):
        if pictures.shape[1:] != (self.n_frames, 3, 32, 32):
            raise ValueError(
                f"the encoder takes {('n', self.n_frames, 3, 32, 32)}, got {tuple(pictures.shape)}"
            )
        return self.body(pictures.transpose(1, 2))


def fit_encoder(
    encoder, videos, *, seed, n_updates=2000, checkpoint=None, label="encoder", save_every=200, **settings
):
    """Train a `VideoEncoder` to say where the bodies of `ToyVideos` are; returns its average and a history.

    As `fit_gan`; `settings` are the fields of `EncoderSettings`, `error` in the history is in half pictures.
    """
    check_kind("encoder", encoder, VideoEncoder)
    check_kind("videos", videos, ToyVideos)
    settings, system = settings_of(EncoderSettings, settings), toy_system(videos.system)
    if encoder.shape[1] != len(system.masses):
        raise ValueError(
            f"{system.name} has {len(system.masses)} bodies, the encoder {encoder.shape[1]}: "
            f"build a VideoEncoder({len(system.masses)})"
        )
    reach = system.reach
    optimiser = torch.optim.Adam(encoder.parameters(), settings.lr, fused=True)

    def update(step, rng):
        states, device = videos.states(rng, settings.batch_size, encoder.n_frames), encoder.head.weight.device
        frames = torch.from_numpy(render_toy(videos.system, states)).to(device)
        places = torch.from_numpy(toy_places(videos.system, states) / reach).float().to(device)
        with fast(device):
            said = encoder(to_unit(frames))
        error = (said.float() - places).square().mean()
        descend(optimiser, error)
        return {"error": error.sqrt()}

    return train(
        update, {"model": encoder}, {"Adam": optimiser}, videos, settings, seed=seed, n_updates=n_updates,
        checkpoint=checkpoint, keep=(), watch=None, save_every=save_every, label=label, shown=("error",),
    )  # fmt: skip
