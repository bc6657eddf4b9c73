"""Self-supervised pretraining of the embedded encoder: one z foretells every frame of its clip.

A joint-embedding predictive architecture (LeCun, 2022) over time. The encoder f sees 16 frames and
gives one z, its mean over tokens. A small network g sees single frames. For the frames k of
`TARGET_FRAMES`, inside the clip and after it, a linear map A_k z + b_k is asked for g(frame k):

    L = mean |p_k - t_k|² + λ Σ |Δp_k - Δt_k|² / Σ |Δt_k|²,    p_k = A_k z + b_k,  t = whiten(g(frames))

with Δ the change over two frames. Both terms are 1 for a z that knows nothing. From step `even_from`
on, the second is mean |L⁻¹ (Δp_k - Δt_k)|², L Lᵀ = cov Δt, for which all directions of motion count
the same; before, z knows too little of most of them, and they would be noise. f and g are trained
together; whitening over the batch keeps g from collapsing (Ermolov et al., 2021), so what g can win
is predictability: it settles on what changes slowly and can be foretold, which is where the balls
are, and z must hold where they are and how they move. No position or velocity enters.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm
from transformers import VJEPA2Config, VJEPA2Model

from ..runs.checkpoints import resumable
from ..runs.fingerprint import hash_code, hash_tensors
from ..runs.hardware import pick_device, pick_encoder_dtype, seeded
from ..simulators.billiards import render_frames, simulate_collisions
from .pictures import normalise, resize_frames
from .pretraining_losses import (
    CLIP_FRAMES,
    even_motion_loss,
    motion_loss,
    prediction_loss,
    standardise,
    whiten,
)

ARCHITECTURE: dict[str, Any] = {
    "crop_size": 64, "frames_per_clip": CLIP_FRAMES, "patch_size": 16, "tubelet_size": 2,
    "hidden_size": 192, "num_hidden_layers": 4, "num_attention_heads": 3, "mlp_ratio": 4,
    "pred_hidden_size": 96, "pred_num_hidden_layers": 2, "pred_num_attention_heads": 3,
    "pred_num_mask_tokens": 1, "pred_mlp_ratio": 2,
}  # fmt: skip
TARGET_FRAMES = (*range(16), 18, 21, 24, 27)  # counted from the clip's first frame
VIDEO_STREAM, CLIP_STREAM = 20_000_000, 21_000_000  # first words of the seeds; evaluation uses neither


@dataclass(frozen=True)
class PretrainSettings:
    """The defaults made the committed weights."""

    seed: int = 0
    n_videos: int = 1000
    n_steps: int = 4000
    batch_size: int = 48
    lr: float = 1e-3
    warm_up: int = 100  # steps of linear rise
    decay_from: float = 0.6  # of all steps; the rate falls linearly to zero from there
    weight_decay: float = 0.03
    target_dim: int = 16
    motion_weight: float = 1.0  # λ, reached by a linear rise:
    motion_rise: int = 500  # steps; before z knows where the balls are, their motion is only noise
    even_from: int = 1500  # step from which all directions of motion count the same


class FrameTarget(nn.Module):
    """g, one frame on its own: uint8 (…, 3, 64, 64) → (…, target_dim), before whitening."""

    def __init__(self, target_dim, hidden_dim=512):
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(3 * 16 * 16, hidden_dim), nn.LayerNorm(hidden_dim), nn.GELU(),
            nn.Linear(hidden_dim, hidden_dim), nn.LayerNorm(hidden_dim), nn.GELU(),
            nn.Linear(hidden_dim, target_dim),
        )  # fmt: skip

    def forward(self, frames):
        coarse = F.avg_pool2d(frames.flatten(0, -4).float() / 255, 4)
        return self.network(coarse.flatten(1)).unflatten(0, frames.shape[:-3])


class Pretraining(nn.Module):
    """The encoder and the two networks that are thrown away afterwards."""

    def __init__(self, settings):
        super().__init__()
        self.encoder = VJEPA2Model(VJEPA2Config(**ARCHITECTURE))
        self.encoder.predictor.requires_grad_(False)  # the masked-token predictor has no part here
        self.target = FrameTarget(settings.target_dim)
        self.predictor = nn.Linear(ARCHITECTURE["hidden_size"], len(TARGET_FRAMES) * settings.target_dim)

    def forward(self, clips):
        """uint8 (B, span, 3, 64, 64) → predictions, whitened targets.

        Each is (B, n_targets, target_dim).
        """
        z = standardise(embed(self.encoder, clips[:, : ARCHITECTURE["frames_per_clip"]]))
        predicted = rearrange(self.predictor(z), "b (k g) -> b k g", k=len(TARGET_FRAMES))
        targets = whiten(self.target(clips[:, TARGET_FRAMES]).flatten(0, 1))
        return predicted, rearrange(targets, "(b k) g -> b k g", k=len(TARGET_FRAMES))


def embed(encoder, clips):
    """What `Encoder.embed` computes, with gradients: uint8 (B, T, 3, 64, 64) → z, float32 (B, D)."""
    fast = pick_encoder_dtype(clips.device) == torch.bfloat16
    with torch.autocast(clips.device.type, torch.bfloat16, enabled=fast):
        tokens = encoder(normalise(clips), skip_predictor=True).last_hidden_state
    return tokens.float().mean(dim=1)


def draw_videos(n_videos, rng, n_frames=150):
    """Billiard videos at the encoder's size: uint8 (n_videos, n_frames, 3, 64, 64)."""
    size = ARCHITECTURE["crop_size"]
    videos = torch.empty(n_videos, n_frames, 3, size, size, dtype=torch.uint8)
    for video in tqdm(videos, desc="videos", unit="video"):
        frames = render_frames(simulate_collisions(n_frames, rng=rng))
        video.copy_(resize_frames(torch.from_numpy(rearrange(frames, "t h w c -> t c h w")), size))
    return videos


def draw_clips(videos, n_clips, rng):
    """Random clips with their future, uint8 (n_clips, 28, 3, 64, 64), under a random symmetry each.

    The symmetries are those of the billiard: the two reflections and the transposition of the box,
    the reversal of time, and the exchange of the balls (red ↔ cyan).
    """
    span = max(TARGET_FRAMES) + 1
    clips = []
    for _ in range(n_clips):
        video, start = rng.integers(len(videos)), rng.integers(videos.shape[1] - span + 1)
        clip = videos[video, start : start + span]
        mirrored = [axis for axis in (0, -1, -2) if rng.random() < 0.5]
        clip = clip.flip(mirrored)
        if rng.random() < 0.5:
            clip = clip.transpose(-1, -2)
        if rng.random() < 0.5:
            clip = clip[:, [1, 0, 0]]
        clips.append(clip)
    return torch.stack(clips)


def learning_rate(step, settings):
    """Linear rise, plateau, linear fall to zero at the end; steps count from 0."""
    rise = (step + 1) / settings.warm_up
    fall = (settings.n_steps - step) / (settings.n_steps * (1 - settings.decay_from))
    return settings.lr * min(1.0, rise, fall)


def pretrain(videos, settings=None, *, watch=None, checkpoint=None, checkpoint_every=200, device=None):
    """Train on uint8 `videos` (n, T, 3, 64, 64), T ≥ 28; returns encoder and history.

    The history is a list with a dict per step: prediction, motion, lr. `watch(step, encoder)` is called
    before the first step, as step 0, and after each one. `checkpoint` is a file: the state is saved beside
    it every `checkpoint_every` steps and at the end, and a later call with the same arguments and code
    goes on from it, watches only what is still to do and ends with the same bits, because each step draws
    its batch from a seed of its own; any other begins anew and says so. Raises `ValueError` for other
    videos, and if a loss is NaN or infinite; the last state saved is kept.
    """
    settings = settings or PretrainSettings()
    _check(videos)
    device = pick_device(device)
    with seeded(settings.seed):
        model = Pretraining(settings).to(device)
    optimiser = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        lr=settings.lr, betas=(0.9, 0.98), weight_decay=settings.weight_decay, fused=True,
    )  # fmt: skip
    history, made_from = [], {}
    if checkpoint:
        made_from = asdict(settings) | {
            "the model or its code": hash_code(model),
            "the initial weights": hash_tensors(model.state_dict()),
            "the videos": hash_tensors({"": videos}),
            "the code of the training": hash_code(pretrain),
        }
    for step in resumable(
        checkpoint, settings.n_steps, fingerprint=made_from, history=history,
        modules={"model": model}, optimisers={"AdamW": optimiser}, every=checkpoint_every,
        label="pretraining", shown=("prediction", "motion"),
    ):  # fmt: skip
        if watch and step == 0:
            _watch(watch, 0, model)
        rng = np.random.default_rng([CLIP_STREAM, settings.seed, step])
        clips = draw_clips(videos, settings.batch_size, rng).to(device)
        history.append(_train_step(model, optimiser, clips, step, settings))
        if watch:  # before the state is saved, so that none is saved that was not watched
            _watch(watch, step + 1, model)
    return model.encoder.eval(), history


def _watch(watch, step, model):
    watch(step, model.encoder.eval())
    model.train()


def _check(videos):
    """One sentence for what would fail later, or pass unseen."""
    size, span = ARCHITECTURE["crop_size"], max(TARGET_FRAMES) + 1
    if not isinstance(videos, torch.Tensor):
        raise TypeError(f"the videos must be a tensor, got {type(videos).__name__}: use torch.from_numpy")
    right = videos.ndim == 5 and len(videos) > 0 and videos.shape[1] >= span
    if not right or videos.shape[2:] != (3, size, size) or videos.dtype != torch.uint8:
        wanted = f"uint8 (n, T, 3, {size}, {size}) with T ≥ {span}"
        raise ValueError(f"the videos must be {wanted}, got {videos.dtype} {tuple(videos.shape)}")


def _train_step(model, optimiser, clips, step, settings):
    """One step on clips (B, 28, 3, 64, 64); its row of the history."""
    predicted, targets = model(clips)
    prediction = prediction_loss(predicted, targets)
    motion = (motion_loss if step < settings.even_from else even_motion_loss)(predicted, targets)
    loss = prediction + settings.motion_weight * min(1.0, step / settings.motion_rise) * motion
    if not loss.isfinite():
        raise ValueError(
            f"the loss of step {step} is {loss.item()} (lr {settings.lr}): lower the learning rate"
        )
    lr = optimiser.param_groups[0]["lr"] = learning_rate(step, settings)
    optimiser.zero_grad()
    loss.backward()
    clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return {"prediction": prediction.item(), "motion": motion.item(), "lr": lr}
