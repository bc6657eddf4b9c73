"""The control without the order of frames: each encoded by itself with an image model, mean over a clip."""

from typing import Any

import timm
import torch
from timm.data.config import resolve_model_data_config

from ..runs.hardware import pick_device, seeded
from .pictures import resize_frames


def load_image_encoder(name="vit_tiny_patch16_224", *, pretrained, seed, image_size=224, device=None):
    """A timm model without its classifier, in evaluation mode, and where its weights come from.

    `pretrained=True` asks the hub; if it has none, or with `pretrained=False`, weights are drawn from
    `seed`. Returns (model, "pretrained" or "random weights").
    """
    options: dict[str, Any] = {"num_classes": 0, "img_size": image_size}
    device = pick_device(device)
    if pretrained:
        try:
            return timm.create_model(name, pretrained=True, **options).eval().to(device), "pretrained"
        except (OSError, RuntimeError) as error:
            print(f"{name}: no pretrained weights ({type(error).__name__}), random ones are used")
    with seeded(seed):
        return timm.create_model(name, pretrained=False, **options).eval().to(device), "random weights"


@torch.no_grad()
def encode_images(model, frames, *, clip_frames=16, stride=4, batch_size=50):
    """uint8 (n_frames, 3, H, W) → float32 CPU (n_clips, D): features of frames, mean over each clip.

    Raises `ValueError` for frames of another kind or fewer than `clip_frames`.
    """
    if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[1] != 3 or len(frames) < clip_frames:
        raise ValueError(
            f"frames must be uint8 (n_frames, 3, H, W), at least {clip_frames}, "
            f"got {frames.dtype} {tuple(frames.shape)}"
        )
    device, config = next(model.parameters()).device, resolve_model_data_config(model)
    mean, std = (torch.tensor(config[key], device=device).view(3, 1, 1) for key in ("mean", "std"))
    features = []
    for batch in frames.split(batch_size):
        label = "" if features else "video"  # warned of once
        pixels = resize_frames(batch, model.patch_embed.img_size[0], label=label).to(device).float() / 255
        features.append(model((pixels - mean) / std).float().cpu())
    return torch.cat(features).unfold(0, clip_frames, stride).mean(dim=-1)
