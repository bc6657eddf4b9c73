"""What videos are in this system: one sentence for anything else."""

import numpy as np
import torch

from ...simulators.toy_pictures import SIZE

SHAPE = (3, SIZE, SIZE)


def check_frames(frames):
    """`ValueError` unless they are a uint8 array (n, T, 3, 32, 32), n and T from 1."""
    _check(frames, np.ndarray, "array")


def check_frame_tensor(frames):
    """The same of a tensor."""
    _check(frames, torch.Tensor, "tensor")


def _check(frames, kind, word):
    got, advice = type(frames).__name__, f"use a uint8 {word} as render_toy and sample draw them"
    if isinstance(frames, np.ndarray | torch.Tensor):
        dtype, shape = str(frames.dtype).removeprefix("torch."), tuple(frames.shape)
        fits = len(shape) == 5 and shape[2:] == SHAPE and 0 not in shape
        if isinstance(frames, kind) and dtype == "uint8" and fits:
            return
        got = f"{dtype} {shape}" if isinstance(frames, kind) else f"{got} {dtype} {shape}"
        if len(shape) == 5 and shape[2:] == (SIZE, SIZE, 3):
            advice = "put the channels before the rows"
    raise ValueError(f"frames are uint8 (n, T, 3, {SIZE}, {SIZE}), got {got}: {advice}")


def check_kind(name, value, kind):
    """`TypeError` for a part of another class than a training takes."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, got {type(value).__name__}")
