"""Hamiltonian Generative Network (Toth et al., 2020): a VAE whose latent is the start of a motion.

The first frames give a distribution of the latent; f makes (q, p) of it, Hamilton's equations move it, and
a picture is made of q alone. Motion and pictures are the GANs' own, so latents are vectors here and not the
paper's 4 × 4 maps. The step is the true leapfrog; the public version that the Hamiltonian GAN was compared
with moves q by p instead of ∂H/∂p (`unfixed_step`).
"""

import torch
from torch import nn

from ...dynamics.predictors import STEPS as PLAIN_STEPS
from ...dynamics.step import declared
from ...simulators.checks import check_count
from ...simulators.toy_pictures import SIZE
from .checks import check_frame_tensor
from .model import Sampler, hamiltonian_motion
from .motion import ConfigurationMap
from .networks import PictureGenerator, evaluating, to_bytes, to_unit, with_float_counts


@declared()
def unfixed_step(hamiltonian, z, dt):
    """The public HGN's leapfrog: q moves by dt p, whatever ∂H/∂p is.

    It is the leapfrog if H = p²/2 + V(q). Otherwise it solves no equation of motion of H: in q̇ = p,
    ṗ = -∂H/∂q the energy changes at the rate ∂H/∂q (p - ∂H/∂p).
    """
    q, p = z.chunk(2, dim=-1)
    p_half = p - dt / 2 * hamiltonian.gradient_q(z)
    q_new = q + dt * p_half
    p_new = p_half - dt / 2 * hamiltonian.gradient_q(torch.cat([q_new, p_half], dim=-1))
    return torch.cat([q_new, p_new], dim=-1)


STEPS = PLAIN_STEPS | {unfixed_step.name: unfixed_step}


class HGN(Sampler):
    """Shapes: frames (B, n_seen or more, 3, 32, 32); latents (B, motion_dim); states (B, n_frames, D).

    `frame_time`, `energy`, `step` as in `VideoGAN`; "unfixed_step" is one more.
    `sample` draws latents from the prior.
    """

    def __init__(
        self, *, motion_dim=20, channels=32, n_seen=5, frame_time=0.5, energy="HNN", step="leapfrog_step"
    ):
        super().__init__()
        check_count(motion_dim=motion_dim, channels=channels, n_seen=n_seen)
        self.n_seen, self.motion_dim, self.noise_dim = n_seen, motion_dim, motion_dim
        self._config = {
            "motion_dim": motion_dim, "channels": channels, "n_seen": n_seen, "frame_time": frame_time,
            "energy": energy, "step": step,
        }  # fmt: skip
        c = channels
        self.encoder = nn.Sequential(
            nn.Conv2d(3 * n_seen, c, 4, 2, 1), nn.ReLU(), nn.Conv2d(c, 2 * c, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(2 * c, 4 * c, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64 * c, 2 * motion_dim),
        )  # fmt: skip
        start = ConfigurationMap(motion_dim)
        self.motion = hamiltonian_motion(
            motion_dim, frame_time, False, energy, step, start=start, steps=STEPS
        )
        self.pictures = PictureGenerator(motion_dim // 2, channels)
        with_float_counts(self)

    def config(self):
        return self._config

    def encode(self, pictures):
        """The first `n_seen` pictures, in -1 … 1 → mean and log variance of the latent, (B, motion_dim) each.

        Raises `ValueError` for fewer pictures, or others than 32 × 32 px.
        """
        if pictures.ndim != 5 or pictures.shape[1] < self.n_seen or pictures.shape[2:] != (3, SIZE, SIZE):
            raise ValueError(
                f"HGN sees {self.n_seen} frames or more of 3 × {SIZE} × {SIZE}, got {tuple(pictures.shape)}"
            )
        said = self.encoder(pictures[:, : self.n_seen].flatten(1, 2)).float()
        mean, log_variance = said.chunk(2, dim=-1)
        return mean, log_variance.clamp(-12, 4)  # beyond, exp runs away before the loss can call it back

    def imagine(self, noise, n_frames, speed=1.0):
        states = self.motion(noise, n_frames, speed)
        return self.pictures(states.chunk(2, dim=-1)[0]), states

    @torch.no_grad()
    def reconstruct(self, frames, n_frames):
        """From the first frames, by the latent's mean: uint8 (B, T, 3, 32, 32) → uint8 (B, n_frames, …)."""
        check_frame_tensor(frames)
        with evaluating(self):
            mean, _ = self.encode(to_unit(frames).to(next(self.parameters())))
            return to_bytes(self.imagine(mean, n_frames)[0]).cpu()
