"""Positions in latents, found without labels: what moves slowly, turns seldom, and fills a table evenly.

Three facts of bodies between walls, and none of them about the encoder. Positions change slowly, so a linear
map of the latents with the least second differences finds them, up to a mixing. Contacts are rare, and a
wall along an axis turns one coordinate alone, so the most independent second differences are the axes'.
And a body visits all of a table equally often, so its coordinate is as evenly spread as a uniform one.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import rankdata
from sklearn.decomposition import FastICA


class Axes(NamedTuple):
    """`values` (n_videos, n_clips, n_axes), each spread evenly over -1 … 1; sign and order are not known.

    `contrast` is the mean |second difference| in units of its standard deviation: low where turns are rare.
    `agreement` is the share of restarts of the search that ended with these axes.
    """

    values: torch.Tensor
    contrast: float
    agreement: float


def find_axes(latents, n_axes, *, seed, n_components=64, n_restarts=12):
    """`Axes` of latents (n_videos, n_clips, D), clips in order of time.

    The search for independent axes sometimes ends 45° off; of `n_restarts` the one with the least contrast
    is kept. Raises `ValueError` for fewer principal components than axes.
    """
    features = _whitened(latents, n_components)
    if features.shape[-1] < n_axes:
        raise ValueError(
            f"{n_axes} axes need as many principal components, got {features.shape[-1]}: give more latents"
        )
    mixed = features @ _rarely_turning(_second_differences(features), n_axes)
    turns = _second_differences(mixed).numpy()
    found = []
    for restart in range(n_restarts):
        ica = FastICA(
            n_axes, whiten="unit-variance", fun="logcosh", random_state=n_restarts * seed + restart,
            max_iter=2000,
        )  # fmt: skip
        sources = np.asarray(ica.fit_transform(turns))
        found.append((float(np.abs(sources / sources.std(axis=0)).mean()), ica.components_))
    contrast, components = min(found, key=lambda pair: pair[0])
    same = np.mean([_same_axes(components, other, turns) for _, other in found])
    values = mixed.numpy() @ components.T
    return Axes(torch.from_numpy(_evenly_spread(values)), contrast, float(same))


def _whitened(latents, n_components):
    """The principal components of unit variance, float64 (n_videos, n_clips, n)."""
    flat = latents.double().flatten(0, 1)
    centred = flat - flat.mean(dim=0)
    _, scale, directions = torch.linalg.svd(centred, full_matrices=False)
    n = min(n_components, int((scale > 1e-9 * scale[0]).sum()))
    return (centred @ (directions[:n].T / scale[:n]) * len(flat) ** 0.5).reshape(*latents.shape[:2], n)


def _second_differences(x):
    return (x[:, 2:] - 2 * x[:, 1:-1] + x[:, :-2]).flatten(0, 1)


def _rarely_turning(turns, n_axes, *, n_steps=800, lr=0.01, softness=0.02):
    """An orthonormal map (n, n_axes) with the least mean |second difference|, by Adam from the least squared.

    The mean of lengths, not of squares, so that rare turns may be large.
    """
    matrix = torch.linalg.eigh(turns.T @ turns).eigenvectors[:, :n_axes].clone().requires_grad_()
    optimiser = torch.optim.Adam([matrix], lr)
    for step in range(n_steps):
        optimiser.param_groups[0]["lr"] = lr * (1 - step / n_steps)
        bent = turns @ torch.linalg.qr(matrix).Q
        loss = (bent.square().sum(dim=1) + softness**2).sqrt().mean()
        (matrix.grad,) = torch.autograd.grad(loss, matrix)
        optimiser.step()
    return torch.linalg.qr(matrix.detach()).Q


def _same_axes(components, others, turns):
    """Whether two sets of axes are one, but for order and sign."""
    correlations = np.abs(np.corrcoef((turns @ components.T).T, (turns @ others.T).T))
    n = len(components)
    return (correlations[:n, n:].max(axis=1) > 0.95).all()


def _evenly_spread(values):
    """Each coordinate by its rank, over -1 … 1."""
    flat = values.reshape(-1, values.shape[-1])
    ranks = np.apply_along_axis(rankdata, 0, flat)
    return ((2 * ranks - 1) / len(flat) - 1).reshape(values.shape)
