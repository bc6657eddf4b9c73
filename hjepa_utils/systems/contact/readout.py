"""From bodies to latents: z of a clip as a sum over its frames and bodies, learned from clips.

The encoder's mean over tokens is nearly additive over bodies and frames, and that is what makes so few clips
enough: the same map as one network of the whole state errs twenty times as much.
"""

import copy
from functools import reduce
from itertools import pairwise

import torch
from torch import nn

from ...dynamics.entities import checked_bodies
from ...dynamics.hamiltonian import check_state
from ...dynamics.saved import SavedModel
from ...experiment.training import cosine_lr
from ...latents.windows import Clips
from ...runs.checks import whole_number

STEP = 2  # frames: of the frames of a clip, every second one is looked at


def frames_seen(clips=Clips(), n_clips=1):  # noqa: B008, a frozen value
    """The frames that the readout looks at, counted from the middle of the first clip, for so many clips."""
    first = 1 - clips.frames // 2
    return range(first, first + clips.frames - STEP + 1 + clips.stride * (n_clips - 1), STEP)


def frames_up_to(n_clips=1, clips=Clips()):  # noqa: B008, a frozen value
    """The frames that the readout looks at, counted from the middle of the last of so many clips."""
    return [frame - clips.stride * (n_clips - 1) for frame in frames_seen(clips, n_clips)]


class BodyReadout(SavedModel):
    """z = mean_τ Σ_i W_i f_i(q_i, p_i, τ) + b over the frames τ of a clip.

    (…, n_frames, 2 N n_dims) → (…, D). f_i is a network of two hidden layers over q_i and its Fourier
    features, p_i and τ; every body has its own, because it looks its own way. States are those of a
    `ContactDynamics`, positions about -1 … 1.
    """

    def __init__(self, n_bodies, n_dims, latent_dim, n_frames=8, n_units=192, n_waves=8):
        super().__init__()
        self.n_bodies, self.n_dims = checked_bodies(n_bodies, n_dims)
        self.latent_dim, self.n_frames = (
            whole_number(latent_dim, "latent_dim"),
            whole_number(n_frames, "n_frames"),
        )
        self.n_units, self.n_waves = whole_number(n_units, "n_units"), whole_number(n_waves, "n_waves")
        widths = (self._n_features(), n_units, n_units)
        self.weights = nn.ParameterList(_uniform(n_bodies, a, b) for a, b in pairwise(widths))
        self.biases = nn.ParameterList(torch.zeros(n_bodies, 1, b) for b in widths[1:])
        self.out = nn.Parameter(_uniform(n_bodies, n_units, latent_dim))
        self.level = nn.Parameter(torch.zeros(latent_dim))

    def config(self):
        names = ("n_bodies", "n_dims", "latent_dim", "n_frames", "n_units", "n_waves")
        return {name: getattr(self, name) for name in names}

    def _n_features(self):
        return self.n_dims * (2 + 2 * self.n_waves) + 1

    def forward(self, path):
        q, p = self._bodies(path.reshape(-1, *path.shape[-2:]))
        tau = torch.linspace(-1, 1, self.n_frames).to(q)[:, None, None].expand(*q.shape[:-1], 1)
        units = self._units(torch.cat([q, p, self._waves(q), tau], dim=-1))
        return self._read(units.mean(dim=-2)).reshape(*path.shape[:-2], self.latent_dim)

    def of_windows(self, path, stride=Clips().stride // STEP):  # noqa: B008
        """z of all clips of a longer path: (…, T, 2 N n_dims) → (…, n_clips, D)."""
        return self(path.unfold(-2, self.n_frames, stride).transpose(-1, -2))

    def _bodies(self, path):
        """Positions and velocities, (…, T, n_bodies, n_dims) each."""
        path = check_state(path, 2 * self.n_bodies * self.n_dims).to(self.out.dtype)
        return (half.unflatten(-1, (self.n_bodies, self.n_dims)) for half in path.chunk(2, dim=-1))

    def _waves(self, q):
        angles = torch.pi / 2 * torch.arange(1, self.n_waves + 1, device=q.device) * q[..., None]
        return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)

    def _units(self, features):
        """The last hidden layer of every body: (n, T, n_bodies, n_features) → (n_bodies, n, T, n_units)."""
        x = features.movedim(2, 0).flatten(1, 2)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = nn.functional.silu(x @ weight + bias)
        return x.unflatten(1, features.shape[:2])

    def _read(self, units):
        """(n_bodies, n, n_units) → (n, D)."""
        return (units @ self.out).sum(dim=0) + self.level


class FrameReadout(BodyReadout):
    """z = Σ_i W_i mean_τ g_τ ⊙ f_i(q_i) + b: of positions alone, with a gain for each frame and unit.

    Each frame is looked at once, however many clips hold it, so that long windows cost a quarter.
    """

    def __init__(self, n_bodies, n_dims, latent_dim, n_frames=8, n_units=128, n_waves=5):
        super().__init__(n_bodies, n_dims, latent_dim, n_frames, n_units, n_waves)
        self.gains = nn.Parameter(torch.ones(n_frames, n_units))

    def _n_features(self):
        return self.n_dims * (1 + 2 * self.n_waves)

    def forward(self, path):
        return self.of_windows(path).squeeze(-2)

    def of_windows(self, path, stride=Clips().stride // STEP):  # noqa: B008
        q, _ = self._bodies(path.reshape(-1, *path.shape[-2:]))
        of_clips = self._over_clips(self._units(torch.cat([q, self._waves(q)], dim=-1)), stride)
        read = self._read(of_clips.flatten(1, 2))
        return read.reshape(*path.shape[:-2], of_clips.shape[2], self.latent_dim)

    def _over_clips(self, units, stride):
        """mean_τ g_τ ⊙ f of every clip: (n_bodies, n, T, n_units) → (n_bodies, n, n_clips, n_units).

        By blocks of `stride` frames, which costs half of what overlapping clips do.
        """
        n_clips = (units.shape[2] - self.n_frames) // stride + 1
        blocks = units[:, :, : units.shape[2] // stride * stride].unflatten(2, (-1, stride))
        gains = (self.gains / self.n_frames).split(stride)
        parts = [blocks[:, :, k : k + n_clips, : len(gain)] * gain for k, gain in enumerate(gains)]
        return reduce(torch.add, [part.sum(dim=3) for part in parts])

    def turned(self, body, order):
        """The same readout for states in which the axes of a body come in another order, q' = q[order]."""
        turned = copy.deepcopy(self)
        plain, waves = self.weights[0][body].detach().split((self.n_dims, 2 * self.n_dims * self.n_waves))
        waves = waves.unflatten(0, (self.n_dims, -1))[order].flatten(0, 1)
        turned.weights[0].data[body] = torch.cat([plain[order], waves])
        return turned


def _uniform(n_bodies, n_in, n_out):
    return (torch.rand(n_bodies, n_in, n_out) * 2 - 1) / n_in**0.5


def fit_readout(readout, paths, latents, *, seed, n_epochs=150, batch_size=64, lr=2e-3):
    """Train in place on paths (n, n_frames, 2 N n_dims) and latents (n, D); returns the last epoch's MSE."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(readout.parameters(), lr, weight_decay=1e-4)
    mean = float("nan")
    for epoch in range(1, n_epochs + 1):
        warm = min(1.0, epoch / (0.1 * n_epochs))
        for group in optimiser.param_groups:
            group["lr"] = warm * cosine_lr(epoch, n_epochs, lr, lr / 1000)
        losses = []
        for batch in torch.randperm(len(paths), generator=generator).split(batch_size):
            loss = (readout(paths[batch]) - latents[batch]).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.detach())
        mean = torch.stack(losses).mean().item()
    return mean


class StateGuess(SavedModel):
    """A first guess of the state from z, to start inversion from: an MLP, (…, D) → (…, 2 N n_dims)."""

    def __init__(self, latent_dim, state_dim, n_units=256, dropout=0.1):
        super().__init__()
        self.arguments = {
            "latent_dim": latent_dim, "state_dim": state_dim, "n_units": n_units, "dropout": dropout
        }  # fmt: skip
        self.network = nn.Sequential(
            nn.Linear(latent_dim, n_units), nn.SiLU(), nn.Dropout(dropout),
            nn.Linear(n_units, n_units), nn.SiLU(), nn.Linear(n_units, state_dim),
        )  # fmt: skip

    def config(self):
        return self.arguments

    def forward(self, z):
        return self.network(z)


def fit_guess(guess, latents, states, *, seed, n_epochs=60, batch_size=64, lr=2e-3):
    """Train in place on latents (n, D) and states (n, 2 N n_dims) by a loss that far-off ones do not rule."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(guess.parameters(), lr, weight_decay=1e-3)
    guess.train()
    for epoch in range(1, n_epochs + 1):
        for group in optimiser.param_groups:
            group["lr"] = cosine_lr(epoch, n_epochs, lr, lr / 1000)
        for batch in torch.randperm(len(latents), generator=generator).split(batch_size):
            loss = nn.functional.smooth_l1_loss(guess(latents[batch]), states[batch], beta=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return guess.eval()
