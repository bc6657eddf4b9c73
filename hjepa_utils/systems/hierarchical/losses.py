"""What a JEPA without a slow copy of itself is held to: VICReg on both taps and both branches.

Nothing is detached and there is no moving average: context and target are encoded by the same weights,
and both feel the gradient (Bardes, Ponce & LeCun, *VICReg*, ICLR 2022).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F

_EPSILON = 1e-4


class Weights(NamedTuple):
    """VICReg's own weights; the last is that of the inverse dynamics."""

    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0
    inverse: float = 2.0


class Terms(NamedTuple):
    """The parts of the loss, before they are weighted; each a tensor of one number."""

    invariance_shallow: torch.Tensor
    invariance_deep: torch.Tensor
    variance_shallow: torch.Tensor
    variance_deep: torch.Tensor
    covariance_shallow: torch.Tensor
    covariance_deep: torch.Tensor
    inverse: torch.Tensor

    def total(self, weights):
        return (
            weights.invariance * (self.invariance_shallow + self.invariance_deep)
            + weights.variance * (self.variance_shallow + self.variance_deep)
            + weights.covariance * (self.covariance_shallow + self.covariance_deep)
            + weights.inverse * self.inverse
        )


def variance(z):
    """How far deviations fall short of 1: mean over D of max(0, 1 - √(Var z + ε)), of latents (n, D)."""
    return F.relu(1 - (z.var(dim=0) + _EPSILON).sqrt()).mean()


def covariance(z):
    """Σ_{i≠j} C_ij² / D of latents (n, D), C their covariance matrix."""
    z = z - z.mean(dim=0)
    matrix = z.T @ z / (len(z) - 1)
    return (matrix.square().sum() - matrix.diagonal().square().sum()) / z.shape[1]


def of_changes(first, second):
    """(second - first) / √2, one set of samples: what stays the same along a sequence earns nothing.

    Independent samples would keep their deviation. With `plain` samples the constant masses alone can
    fill all dimensions, decorrelated and perfectly predictable, and motion is never learned.
    """
    return [(second - first) / 2**0.5]


def plain(first, second):
    """Both branches as they are, two sets of samples, as VICReg has it."""
    return [first, second]


STATISTICS = {"changes": of_changes, "plain": plain}


def jepa_terms(model, inverse, batch, start, *, n_ahead=8, places=(5, 10, 15), statistics="changes"):
    """The `Terms` of a batch of sequences, each seen through its first and its last window.

    The shallow latents are rolled `n_ahead` frames within both windows, from frame `start` on, and held
    to those encoded there; the deep ones jump from `places` of the first window to the same places of
    the last. `inverse` reads a frame's force from two neighbouring shallow latents. Statistics are taken
    from pairs a whole event apart.
    """
    positions, masses, forces = batch.positions, batch.masses, batch.forces
    n, window, event, places = len(masses), model.window, model.event, list(places)
    seen = torch.cat([positions[:, :window], positions[:, event : event + window]])
    shallow, deep = model.tokens(seen, torch.cat([masses, masses]))

    pushed = torch.cat([forces[:, first + start : first + start + n_ahead] for first in (0, event)])
    rolled = model.rollout(shallow[:, start], pushed)[:, 1:]
    near = _apart(rolled, shallow[:, start + 1 : start + n_ahead + 1])

    deep = deep.float()
    first, second = deep[:n, places].flatten(0, 1), deep[n:, places].flatten(0, 1)
    on_the_way = torch.stack([forces[:, place : place + event] for place in places], dim=1)
    far = _apart(model.predict_event(first, on_the_way.flatten(0, 1)), second)

    read = inverse(shallow[:, start], shallow[:, start + 1])
    true = model.scaled(pushed[:, 0], (2 * n,)).flatten(-2)
    samples = shallow[:, [start, start + n_ahead // 2, window - 1]].float()
    spread = STATISTICS[statistics]
    near_sets = spread(samples[:n].flatten(0, 1), samples[n:].flatten(0, 1))
    far_sets = spread(first, second)
    return Terms(
        near, far, _mean(variance, near_sets), _mean(variance, far_sets),
        _mean(covariance, near_sets), _mean(covariance, far_sets), _apart(read, true),
    )  # fmt: skip


def step_loss(model, tokens, forces, start, n_ahead):
    """The shallow predictor alone, on encoded latents (B, T, width): rolled against those encoded."""
    rolled = model.rollout(tokens[:, start], forces[:, start : start + n_ahead])
    return _apart(rolled[:, 1:], tokens[:, start + 1 : start + n_ahead + 1])


def event_loss(model, first, second, forces):
    """The deep predictor alone, on encoded latents (B, width) an event apart."""
    return _apart(model.predict_event(first, forces), second)


def _apart(predicted, target):
    return (predicted.float() - target.float()).square().mean()


def _mean(measure, sets):
    return torch.stack([measure(samples) for samples in sets]).mean()
