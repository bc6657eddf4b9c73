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
        """Of rollouts z (n_models, n, T, D) against the true states (n, T, 2, 4): {name: (n_models, n, T)}.

        Root mean square errors of position and velocity over both balls; for energy |Ê - E|, its
        drift |Ê_t - Ê_0|, truly 0, and the largest drift (n_models, n, 1), all in units of the spread
        of E over the fitted clips.
        """
        shape, true = z.shape[:-1], _targets(states.reshape(-1, 2, 4))
        flat = z.reshape(-1, z.shape[-1])
        read = {name: probe.predict(flat).reshape(*shape, -1) for name, probe in self._probes.items()}
        off = {name: read[name] - true[name].reshape(*shape[1:], -1) for name in read}
        drift = np.abs(read["energy"] - read["energy"][:, :, :1])[..., 0] / self.energy_spread
        return {
            "position": np.sqrt(np.square(off["position"]).mean(axis=-1)),
            "velocity": np.sqrt(np.square(off["velocity"]).mean(axis=-1)),
            "energy": np.abs(off["energy"])[..., 0] / self.energy_spread,
            "energy drift": drift,
            "largest energy drift": drift.max(axis=2, keepdims=True),
        }


def _targets(states):
    """(n, 2, 4) → (n, 4), (n, 4) and (n, 1)."""
    return {
        "position": states[..., :2].reshape(len(states), 4),
        "velocity": states[..., 2:].reshape(len(states), 4),
        "energy": kinetic_energy(states)[:, None],
    }


def simulate_latents(encoder, n_videos, *, seed, framing="whole", **options):
    """Latents of new videos, (n_videos, n_clips, D); `options` are those of `simulate_collisions`."""
    latents = []
    for k in range(n_videos):
        states = simulate_collisions(rng=np.random.default_rng([seed, k]), **options)
        frames = torch.from_numpy(render_frames(states, radius=options.get("radius", 20.0)))
        latents.append(encode_video(encoder, frames.permute(0, 3, 1, 2), framing=framing))
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
