"""The three GANs: one generator of pictures, and a motion model that differs.

Hamiltonian GAN (Allen-Blanchette, L4DC 2024): noise → f → Hamilton's equations → pictures. HNN-GAN is
without f; MoCoGAN has a GRU instead.
"""

import numpy as np
import torch

from ...dynamics.hamiltonian import HNN, SeparableHNN
from ...dynamics.predictors import STEPS
from ...dynamics.saved import SavedModel
from ...runs.checks import check_between, check_name, check_whole
from ...simulators.checks import check_count, check_generator
from ...simulators.toy_physics import DT
from .motion import ConfigurationMap, GRUMotion, HamiltonianMotion, check_frames
from .networks import PictureGenerator, evaluating, to_bytes, with_float_counts

_DRAWN_TOGETHER = 64  # videos
_LONGEST = 1e3  # s, between two frames
_ENERGIES = {"HNN": HNN, "SeparableHNN": SeparableHNN}


class Sampler(SavedModel):
    """What the four models share: videos from noise.

    Subclasses have `noise_dim` and `imagine(noise, n_frames, speed)`: (B, noise_dim) → pictures
    (B, n_frames, 3, 32, 32) in -1 … 1 and states (B, n_frames, D).
    """

    noise_dim: int

    def imagine(self, noise, n_frames, speed=1.0):
        raise NotImplementedError

    def draw_noise(self, n, rng):
        """(n, noise_dim), standard normal, from a `numpy.random.Generator`."""
        check_count(n=n)
        check_generator(rng)
        drawn = torch.from_numpy(rng.standard_normal((n, self.noise_dim), dtype=np.float32))
        return drawn.to(next(self.parameters()))

    @torch.no_grad()
    def sample(self, n, n_frames, *, rng, dt=DT):
        """Videos: uint8 (n, n_frames, 3, 32, 32), on the CPU.

        `dt` is the time between frames in seconds, 0.05 in the data; a Hamiltonian model takes others, also
        negative ones. Every video is drawn by itself: others beside it do not change it. Raises `ValueError`
        for counts below 1, a dt that is no number, and, with a GRU, for another than 0.05.
        """
        check_frames(n_frames)
        speed, noise = speed_of(dt), self.draw_noise(n, rng)
        with evaluating(self):
            parts = [to_bytes(self.imagine(part, n_frames, speed)[0]).cpu()
                     for part in noise.split(_DRAWN_TOGETHER)]  # fmt: skip
        return torch.cat(parts)


def speed_of(dt):
    """Time between frames in units of that of the data; `ValueError` for what is no time in seconds."""
    check_between(-_LONGEST, _LONGEST, dt=dt)
    return dt / DT


class VideoGAN(Sampler):
    """`name` is "HGAN", "HNN-GAN" or "MoCoGAN"; the rest is for all three, or for the first two.

    `frame_time`, `normalise`: see `HamiltonianMotion`; `energy` is "HNN" (joint, the paper's) or
    "SeparableHNN", `step` a name of `predictors.STEPS`. Raises `ValueError` for other names,
    and sizes and times that are none.
    """

    def __init__(
        self, name="HGAN", *, motion_dim=20, content_dim=50, channels=32, frame_time=0.5, normalise=True,
        energy="HNN", step="leapfrog_step",
    ):  # fmt: skip
        super().__init__()
        check_name("model", name, MOTIONS)
        check_count(motion_dim=motion_dim, channels=channels)
        check_whole(0, content_dim=content_dim)
        self.name, self.motion_dim, self.noise_dim = name, motion_dim, motion_dim + content_dim
        self._config = {
            "name": name, "motion_dim": motion_dim, "content_dim": content_dim, "channels": channels,
            "frame_time": frame_time, "normalise": normalise, "energy": energy, "step": step,
        }  # fmt: skip
        self.motion = MOTIONS[name](motion_dim, frame_time, normalise, energy, step)
        self.pictures = PictureGenerator(self.noise_dim, channels)
        with_float_counts(self)

    def config(self):
        return self._config

    def imagine(self, noise, n_frames, speed=1.0):
        """A video's content noise stays, its motion noise moves."""
        moving, content = noise.split([self.motion_dim, self.noise_dim - self.motion_dim], dim=-1)
        states = self.motion(moving, n_frames, speed)
        content = content[:, None].expand(-1, n_frames, -1)
        return self.pictures(torch.cat([states, content], dim=-1)), states


def hamiltonian_motion(motion_dim, frame_time, normalise, energy, step, *, start=None, steps=STEPS):
    """A `HamiltonianMotion` of named parts, with two hidden layers of 100 as in the public code."""
    for kind, name, known in (("energy", energy, _ENERGIES), ("step", step, steps)):
        check_name(kind, name, known)
    hamiltonian = _ENERGIES[energy](motion_dim, (100, 100))
    return HamiltonianMotion(
        hamiltonian, start, steps[step], frame_time=frame_time, normalise=normalise
    )  # fmt: skip


MOTIONS = {
    "HGAN": lambda dim, *how: hamiltonian_motion(dim, *how, start=ConfigurationMap(dim)),
    "HNN-GAN": hamiltonian_motion,
    "MoCoGAN": lambda dim, *how: GRUMotion(dim),
}
