"""Where the pixels of a picture are."""

import torch


def pixel_grid(size):
    """Centres of the pixels, x to the right and y down, in [-1, 1]: (size, size, 2)."""
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    return torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)
