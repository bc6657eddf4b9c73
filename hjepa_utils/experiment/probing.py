"""What predicted latents say about the balls, and where on the table an error happens."""

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ..simulators.billiards import kinetic_energy


class StateProbe:
    """Linear read-outs of position (px), velocity (px/s) and kinetic energy (px²/s²) from z.

    Fitted to clips (n, D) and the true states at the same clips (n, 2, 4); use them on other videos.
    """

    def __init__(self, latents, states):
        true = _targets(states)
        self.energy_spread = true["energy"].std()
        self._probes = {name: ridge_probe().fit(latents, target) for name, target in true.items()}

    def read(self, z):
        """What z (…, D) says of the balls: {"position": (…, 4), "velocity": (…, 4), "energy": (…, 1)}.

        In px, px/s and px²/s²; x and y of the first ball, then of the second.
        """
        flat = z.reshape(-1, z.shape[-1])
        return {name: probe.predict(flat).reshape(*z.shape[:-1], -1) for name, probe in self._probes.items()}

    def errors(self, z, states):
        """Of rollouts z (n_models, n, T, D) against the true states (n, T, 2, 4): {name: (n_models, n, T)}.

        Root mean square errors of position and velocity over both balls; for energy |Ê - E|, its
        drift |Ê_t - Ê_0|, truly 0, and the largest drift (n_models, n, 1), all in units of the spread
        of E over the fitted clips.
        """
        read, true = self.read(z), _targets(states)
        off = {name: read[name] - true[name] for name in read}
        drift = np.abs(read["energy"] - read["energy"][:, :, :1])[..., 0] / self.energy_spread
        return {
            "position": np.sqrt(np.square(off["position"]).mean(axis=-1)),
            "velocity": np.sqrt(np.square(off["velocity"]).mean(axis=-1)),
            "energy": np.abs(off["energy"])[..., 0] / self.energy_spread,
            "energy drift": drift,
            "largest energy drift": drift.max(axis=2, keepdims=True),
        }


def _targets(states):
    """States (…, 2, 4) as what a probe reads: (…, 4), (…, 4) and (…, 1)."""
    return {
        "position": states[..., :2].reshape(*states.shape[:-2], 4),
        "velocity": states[..., 2:].reshape(*states.shape[:-2], 4),
        "energy": kinetic_energy(states)[..., None],
    }


def ridge_probe():
    """A linear read-out, not yet fitted: ridge on standardised latents, penalty by leave-one-out.

    scikit-learn's `fit` (n, D), (n, k) and `predict` (m, D) → (m, k). Fit and predict on different
    videos: clips of one video overlap.
    """
    return make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-3, 4, 15)))


def probe_scores(latents, states, groups):
    """What a linear read-out finds in z: R² of position, velocity and energy, each a float.

    `latents` (n, D), the true `states` at the same clips (n, 2, 4), and the video of each clip (n).
    Every clip is read by a probe fitted on other videos (five folds). Energy is read straight from
    z, and computed from the probed velocities. 1 is perfect, 0 no better than the mean.
    """
    true = _targets(states)
    read = {
        name: np.asarray(cross_val_predict(ridge_probe(), latents, target, groups=groups, cv=GroupKFold(5)))
        for name, target in true.items()
    }
    from_velocities = 0.5 * np.square(read["velocity"]).sum(axis=1)
    return {
        "position": float(r2_score(true["position"], read["position"])),
        "velocity": float(r2_score(true["velocity"], read["velocity"])),
        "energy, straight from z": float(r2_score(true["energy"], read["energy"])),
        "energy, from velocities": float(r2_score(true["energy"], from_velocities)),
    }


def frame_pca(videos, n_components, *, seed, clip_frames=16, stride=4, size=16):
    """The control for a probe that needs no network: PCA of all frames of a clip at `size` × `size` pixels.

    `videos`: uint8 (n_frames, 3, H, W) each → float32 (n_clips, n_components), all videos' clips in order.
    """
    clips = []
    for frames in videos:
        coarse = F.adaptive_avg_pool2d(frames.float(), size)
        clips.append(rearrange(coarse.unfold(0, clip_frames, stride), "n c h w t -> n (t c h w)"))
    return PCA(n_components, random_state=seed).fit_transform(torch.cat(clips).numpy())
