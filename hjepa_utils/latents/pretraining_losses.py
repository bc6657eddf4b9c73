"""What the pretraining asks of z: the frames of its clip, and their changes. See `pretraining`."""

import torch
import torch.nn.functional as F

CLIP_FRAMES = 16  # that the encoder sees at once
MOTION_SPAN = 2  # frames between the two targets whose difference is the motion


def standardise(z):
    """Zero mean and unit variance over the batch, per dimension: (B, D) → (B, D)."""
    return F.batch_norm(z, None, None, training=True)


def whiten(features):
    """Zero mean, identity covariance over the batch, differentiably: (n, G) → (n, G)."""
    centred = features - features.mean(dim=0)
    return in_units_of(centred, centred)


def in_units_of(sample, vectors):
    """L⁻¹ `vectors`, (m, G), with L Lᵀ the covariance of the centred `sample`, (n, G)."""
    covariance = sample.T @ sample / len(sample)
    floor = 1e-4 * torch.eye(sample.shape[1], device=sample.device)
    factor = torch.linalg.cholesky(covariance + floor)
    return torch.linalg.solve_triangular(factor, vectors.T, upper=False).T


def prediction_loss(predicted, targets):
    """Mean squared error: what is left unexplained of whitened targets, (B, K, G) each."""
    return (predicted - targets).square().mean()


def motion_loss(predicted, targets):
    """The same for changes over `MOTION_SPAN` frames in the clip; it moves no targets."""
    foretold, true = changes(predicted), changes(targets.detach())
    return (foretold - true).square().sum() / true.square().sum()


def even_motion_loss(predicted, targets):
    """`motion_loss` with the changes whitened.

    The slowest directions are the places of the balls, and hold a few per cent of the
    variance of the changes; the fast ones, their overtones, hold the rest.
    """
    foretold, true = changes(predicted), changes(targets.detach())
    return in_units_of(true - true.mean(dim=0), foretold - true).square().mean()


def changes(features):
    """Over `MOTION_SPAN` frames inside the clip: (B, K, G) → (m, G)."""
    inside = features[:, :CLIP_FRAMES]
    return (inside[:, MOTION_SPAN:] - inside[:, :-MOTION_SPAN]).flatten(0, 1)
