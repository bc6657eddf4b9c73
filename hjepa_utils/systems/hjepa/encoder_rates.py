"""Clips a second beside the published way, and what share of the machine's arithmetic they take."""

import numpy as np
import torch
from transformers import VJEPA2Config, VJEPA2Model

from ...experiment.timing import seconds, side_by_side
from ...latents.clips import encode_videos
from ...latents.encoder import Encoder
from ...latents.pictures import normalise, resize_frames
from ...latents.video import read_video
from ...runs.hardware import seeded


def one_clip_at_a_time(encoder, video, *, clip_frames=16, stride=4):
    """The published way to embed a video: every clip by itself, with the predictor left on."""
    frames = resize_frames(read_video(video), encoder.image_size)
    starts = range(0, len(frames) - clip_frames + 1, stride)
    return embed_one_by_one(encoder, (frames[start : start + clip_frames] for start in starts))


@torch.inference_mode()
def embed_one_by_one(encoder, clips):
    """Clips uint8 (T, 3, S, S) one after the other, with the predictor left on → (n_clips, D) on the CPU."""
    latents = []
    for clip in clips:
        clip = normalise(clip[None].to(encoder.device)).to(encoder.model.dtype)
        latents.append(encoder.model(clip).last_hidden_state.float().mean(dim=1).cpu())
    return torch.cat(latents)


def clips_per_second(videos, published, ours, *, rounds=6):
    """`side_by_side` of clips of video files embedded per second, one at a time and by `encode_videos`.

    `published` and `ours` are the `Encoder`s of the two; they may differ in dtype.
    """
    n_clips = sum(len(latents) for _, latents in encode_videos(ours, videos))
    reference = "one clip at a time, predictor on"
    calls = {
        reference: lambda: [one_clip_at_a_time(published, v) for v in videos],
        "encode_videos": lambda: list(encode_videos(ours, videos)),
    }
    taken = seconds(calls, rounds=rounds, warm_up=1)
    return side_by_side({name: n_clips / s for name, s in taken.items()}, reference)


def share_of_matrix_rate(n_clips, encoder):
    """What share of a large matrix product's rate, in the encoder's dtype, n clips per second take."""
    return n_clips * flops_per_clip(encoder) / matrix_rate(encoder.device, encoder.model.dtype)


def flops_per_clip(encoder, clip_frames=16):
    """Floating-point operations of one embedding's products, two per multiply–add.

    Counted from the architecture, because PyTorch's counter misses attention in some releases.
    """
    config = encoder.model.config
    d, patch = config.hidden_size, config.tubelet_size * config.patch_size**2 * config.in_chans
    tokens = clip_frames // config.tubelet_size * (config.crop_size // config.patch_size) ** 2
    projections = 4 * d * d  # to queries, keys and values, and of what they give
    attention = 2 * tokens * d  # scores, and values weighted by them
    mlp = 2 * d * int(d * config.mlp_ratio)
    return 2 * tokens * (patch * d + config.num_hidden_layers * (projections + attention + mlp))


def matrix_rate(device, dtype):
    """Floating-point operations per second of a large square product."""
    size = 8192 if device.type == "cuda" else 2048
    matrix = torch.randn(size, size, device=device, dtype=dtype)
    (taken,) = seconds({"product": lambda: matrix @ matrix}, rounds=5).values()
    return 2 * size**3 / float(np.median(taken))


def random_vit_l(device, dtype):
    """V-JEPA 2 at the paper's size with random weights, which cost what trained ones cost."""
    with seeded(0):
        model = VJEPA2Model(VJEPA2Config(frames_per_clip=16))
    return Encoder("ViT-L, random weights", model.to(device, dtype).eval().requires_grad_(False))
