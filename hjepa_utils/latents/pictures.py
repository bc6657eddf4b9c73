"""Pictures as encoders take them: square, of one size, normalised."""

import warnings

import torch
import torch.nn.functional as F

from .names import FRAMINGS

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalise(clips):
    """uint8 (…, 3, H, W) → float32, by ImageNet's mean and standard deviation, as V-JEPA 2 expects."""
    mean, std = (torch.tensor(v, device=clips.device).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (clips.float() / 255 - mean) / std


def resize_frames(frames, size, *, framing="whole", label="video"):
    """uint8 (n_frames, 3, H, W) → uint8 (n_frames, 3, size, size), anti-aliased.

    A picture that is not square loses its sides, with a warning if there is a `label` to name.
    """
    if framing not in FRAMINGS:
        raise ValueError(f"framing must be one of {FRAMINGS}, got {framing!r}")
    height, width = frames.shape[-2:]
    if height != width:
        if label:
            warnings.warn(f"{label} is {width}×{height}: its centre square is used", stacklevel=3)
        frames = _centre_crop(frames, min(height, width))
    if framing == "processor":
        enlarged = round(size * 292 / 256)
        return _centre_crop(_resize(frames, enlarged), size)
    return _resize(frames, size)


def _resize(frames, size):
    if frames.shape[-1] == size:
        return frames
    return F.interpolate(frames, (size, size), mode="bilinear", antialias=True)


def _centre_crop(frames, size):
    top, left = (frames.shape[-2] - size) // 2, (frames.shape[-1] - size) // 2
    return frames[..., top : top + size, left : left + size]
