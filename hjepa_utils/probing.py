"""What predicted latents say about the balls, and where on the table an error happens."""

import numpy as np
import torch

from .billiards import kinetic_energy, render_frames, simulate_collisions
from .clips import encode_video
from .evaluation import ridge_probe


class StateProbe:
    """Linear read-outs of position (px), velocity (px/s) and kinetic energy (px²/s²) from z.

    Fitted to clips (n, D) and the true states at the same clips (n, 2, 4); use them on other videos.
    """

    def __init__(self, latents, states):
        targets = _targets(states)
        self.energy_spread = targets["energy"].std()
        self._probes = {name: ridge_probe().fit(latents, target) for name, target in targets.items()}

    def errors(self, z, states):
        """Of rollouts z (n, T, D) against the true states (n, T, 2, 4): {name: (n, T)}.

        Root mean square errors of position and velocity over both balls; for energy, which truly
        does not change, |E_t - E_0| in units of its spread over the fitted clips.
        """
        n, length, dim = z.shape
        read = {k: p.predict(z.reshape(-1, dim)).reshape(n, length, -1) for k, p in self._probes.items()}
        true = _targets(states.reshape(-1, 2, 4))
        errors = {
            name: np.sqrt(np.square(read[name] - true[name].reshape(n, length, 4)).mean(axis=-1))
            for name in ("position", "velocity")
        }
        energy = read["energy"][..., 0]
        return errors | {"energy": np.abs(energy - energy[:, :1]) / self.energy_spread}


def _targets(states):
    """(n, 2, 4) → (n, 4), (n, 4) and (n, 1)."""
    return {
        "position": states[..., :2].reshape(len(states), 4),
        "velocity": states[..., 2:].reshape(len(states), 4),
        "energy": kinetic_energy(states)[:, None],
    }


def simulate_latents(encoder, n_videos, *, seed, **options):
    """Latents of new videos, (n_videos, n_clips, D); `options` are those of `simulate_collisions`."""
    latents = []
    for k in range(n_videos):
        states = simulate_collisions(rng=np.random.default_rng([seed, k]), **options)
        frames = torch.from_numpy(render_frames(states, radius=options.get("radius", 20.0)))
        latents.append(encode_video(encoder, frames.permute(0, 3, 1, 2)))
    return torch.stack(latents)


def contact_masks(states, *, size=256.0, radius=20.0, margin=20.0):
    """Which of the steps 1 … T-1 lie where: windows of states (n, T, n_balls, 4) → {place: bool (n, T - 1)}.

    A contact, with a wall or a ball, shows as a changed velocity; "after contact" is every step from
    the first one on. "near a wall": some ball is less than `margin` px from touching one.
    """
    touched = (np.diff(states[..., 2:], axis=1) != 0).any(axis=(2, 3)).cumsum(axis=1) > 0
    gap = size / 2 - radius - np.abs(states[:, 1:, :, :2] - size / 2)
    near = (gap < margin).any(axis=(2, 3))
    return {
        "before contact": ~touched,
        "after contact": touched,
        "far from walls": ~near,
        "near a wall": near,
    }
