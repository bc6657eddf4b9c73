"""Rollouts of an `HNN` near the arithmetic limit: shared first-layer products, derivatives by hand.

Algorithm 1 and Euler's step are sequences of stages. With a = W_q q + W_p p + b and g = ∂H/∂a, a
stage moves p by -κ dt g W_q and q by δ dt g W_p, and only what has moved is multiplied again. The
backward pass is the adjoint of this recursion, last stage first, with the weight gradients of several
stages in one product. Leading dimensions (…) of weights and states are models trained together.
"""

from typing import NamedTuple

import torch
from torch.autograd.function import once_differentiable

from .softplus import softplus


class Evaluation(NamedTuple):
    """H's network at one point. Per hidden layer k, (…, B, K): σ(a_k), softplus(a_k), ∂H/∂a_k."""

    slopes: list
    hidden: list  # without the last layer's, which only H itself needs
    gradients: list
    last_preactivation: torch.Tensor


class Weights(NamedTuple):
    """An `HNN`'s parameters: W_q and W_p (…, K, D/2), the hidden layers after it, w (…, 1, K)."""

    first_q: torch.Tensor
    first_p: torch.Tensor
    first_bias: torch.Tensor
    hidden: list
    hidden_bias: list
    last: torch.Tensor
    last_bias: torch.Tensor

    @classmethod
    def from_parameters(cls, parameters):
        """From W₁, b₁, W₂, b₂, …, in the order of `HNN.parameters()`."""
        matrices, biases = parameters[::2], [bias.unsqueeze(-2) for bias in parameters[1::2]]
        first_q, first_p = (half.contiguous() for half in matrices[0].chunk(2, dim=-1))
        return cls(first_q, first_p, biases[0], matrices[1:-1], biases[1:-1], matrices[-1], biases[-1])

    def evaluate(self, a):
        """The network and ∂H/∂a_k for every hidden layer, from the first layer's a, (…, B, K)."""
        slopes, hidden = [torch.sigmoid(a)], []
        for matrix, bias in zip(self.hidden, self.hidden_bias, strict=True):
            hidden.append(softplus(a))
            a = affine(hidden[-1], matrix, bias)
            slopes.append(torch.sigmoid(a))
        gradients = [self.last * slopes[-1]]
        for matrix, slope in zip(self.hidden[::-1], slopes[-2::-1], strict=True):
            gradients.append((gradients[-1] @ matrix) * slope)
        return Evaluation(slopes, hidden, gradients[::-1], a)

    def energy(self, evaluation):
        """H, (…, B, 1)."""
        return affine(softplus(evaluation.last_preactivation), self.last, self.last_bias)


def affine(x, matrix, bias):
    """x Wᵀ + b in one pass: (…, B, L), (…, K, L), (…, 1, K) → (…, B, K)."""
    return (torch.addmm if x.ndim == 2 else torch.baddbmm)(bias, x, matrix.mT)


def split_rollout(parameters, z0, dt, stages, n_steps):
    """z_0 … z_n, (…, B, D) → (…, B, n_steps + 1, D), differentiable to any order."""
    return torch.stack(_advance(Weights.from_parameters(parameters), z0, dt, stages, n_steps)[0], dim=-2)


def _advance(weights, z0, dt, stages, n_steps, record=None):
    """The states, and a at the last one; `record` collects (evaluation, q, p) of every stage."""
    q, p = z0.chunk(2, dim=-1)
    a_q, a_p = affine(q, weights.first_q, weights.first_bias), p @ weights.first_p.mT
    states = [z0]
    for _ in range(n_steps):
        for kick, drift in stages:
            evaluation = weights.evaluate(a_q + a_p)
            if kick:
                p = p - kick * dt * (evaluation.gradients[0] @ weights.first_q)
                a_p = p @ weights.first_p.mT
            if drift:
                q = q + drift * dt * (evaluation.gradients[0] @ weights.first_p)
                a_q = affine(q, weights.first_q, weights.first_bias)
            if record is not None:
                record.append((evaluation, q, p))
        states.append(torch.cat([q, p], dim=-1))
    return states, a_q + a_p


class SplitRollout(torch.autograd.Function):
    """`split_rollout` with the energies (…, B, n_steps + 1) of its states, for training.

    The energy at the start of a step shares that step's first evaluation. First derivatives only.
    """

    @staticmethod
    def forward(ctx, z0, dt, stages, n_steps, *parameters):
        weights, record = Weights.from_parameters(parameters), []
        states, a = _advance(weights, z0, dt, stages, n_steps, record)
        record.append((weights.evaluate(a), None, None))
        at_steps = [evaluation for evaluation, _, _ in record[:: len(stages)]]
        energies = torch.cat([weights.energy(evaluation) for evaluation in at_steps], dim=-1)
        ctx.weights, ctx.record, ctx.stages = weights, record, stages
        ctx.save_for_backward(z0, dt)
        return torch.stack(states, dim=-2), energies

    @staticmethod
    @once_differentiable  # whose types forbid what its documentation shows
    def backward(ctx, z_bar, energy_bar):  # pyright: ignore[reportIncompatibleMethodOverride]
        (z0, dt), weights, sums = ctx.saved_tensors, ctx.weights, GradientSums(ctx.weights)
        q_bar, p_bar = z_bar[..., -1, :].chunk(2, dim=-1)
        a_bar = sums.adjoint(ctx.record[-1][0], None, energy_bar[..., -1:])
        aq_bar, ap_bar, dt_bar = a_bar, a_bar, torch.zeros_like(dt)
        for index in reversed(range(len(ctx.record) - 1)):
            step, stage = divmod(index, len(ctx.stages))
            (evaluation, q, p), (kick, drift) = ctx.record[index], ctx.stages[stage]
            g, g_bar = evaluation.gradients[0], 0.0
            if drift:
                q_bar = q_bar + sums.first_q_adjoint(aq_bar, q)
                sums.first_p.add(g, drift * dt * q_bar)
                aq_bar, g_bar = 0.0, g_bar + drift * (q_bar @ weights.first_p.mT)
            if kick:
                p_bar = p_bar + sums.first_p_adjoint(ap_bar, p)
                sums.first_q.add(g, -kick * dt * p_bar)
                ap_bar, g_bar = 0.0, g_bar - kick * (p_bar @ weights.first_q.mT)
            dt_bar = dt_bar + (g_bar * g).sum_to_size(dt.shape)
            at_step = energy_bar[..., step : step + 1] if stage == 0 else None
            a_bar = sums.adjoint(evaluation, dt * g_bar, at_step)
            aq_bar, ap_bar = aq_bar + a_bar, ap_bar + a_bar
            if stage == 0:
                output_q_bar, output_p_bar = z_bar[..., step, :].chunk(2, dim=-1)
                q_bar, p_bar = q_bar + output_q_bar, p_bar + output_p_bar
        q, p = z0.chunk(2, dim=-1)
        q_bar, p_bar = q_bar + sums.first_q_adjoint(aq_bar, q), p_bar + sums.first_p_adjoint(ap_bar, p)
        return torch.cat([q_bar, p_bar], dim=-1), dt_bar, None, None, *sums.gradients()


class Products:
    """Σ left_iᵀ right_i over all stages i: (…, B, K), (…, B, L) → (…, K, L), several stages a product.

    The copies that one product of all stages needs would leave the CPU's caches.
    """

    def __init__(self, like, stages_at_once=8):
        self.total, self.stages_at_once = torch.zeros_like(like), stages_at_once
        self.lefts, self.rights = [], []

    def add(self, left, right):
        self.lefts.append(left)
        self.rights.append(right)
        if len(self.lefts) == self.stages_at_once:
            self.sum()

    def sum(self):
        if self.lefts:
            add_product = self.total.addmm_ if self.total.ndim == 2 else self.total.baddbmm_
            add_product(torch.cat(self.lefts, dim=-2).mT, torch.cat(self.rights, dim=-2))
            self.lefts, self.rights = [], []
        return self.total


class GradientSums:
    """The gradients of the weights, summed over the stages. A bar marks the loss's derivative."""

    def __init__(self, weights):
        self.weights = weights
        self.first_q, self.first_p = Products(weights.first_q), Products(weights.first_p)
        self.hidden = [Products(matrix) for matrix in weights.hidden]
        self.first_bias, self.hidden_bias = 0, [0 for _ in weights.hidden]
        self.last, self.last_bias = 0, 0

    def first_q_adjoint(self, aq_bar, q):
        self.first_q.add(aq_bar, q)
        self.first_bias = self.first_bias + aq_bar.sum(dim=-2)
        return aq_bar @ self.weights.first_q

    def first_p_adjoint(self, ap_bar, p):
        self.first_p.add(ap_bar, p)
        return ap_bar @ self.weights.first_p

    def adjoint(self, evaluation, g_bar, energy_bar):
        """a_bar of one evaluation, a Hessian-vector product, from g_bar and, unless None, H's own."""
        g_bars = [torch.zeros_like(evaluation.gradients[0]) if g_bar is None else g_bar]
        for matrix, slope, gradient, products in zip(
            self.weights.hidden, evaluation.slopes[:-1], evaluation.gradients[1:], self.hidden, strict=True
        ):
            sloped = g_bars[-1] * slope
            products.add(gradient, sloped)
            g_bars.append(sloped @ matrix.mT)
        self.last = self.last + (g_bars[-1] * evaluation.slopes[-1]).sum(dim=-2, keepdim=True)
        a_bar = g_bars[-1] * evaluation.gradients[-1] * (1 - evaluation.slopes[-1])  # σ' = σ (1 - σ)
        if energy_bar is not None:
            a_bar = a_bar + energy_bar * evaluation.gradients[-1]
            self.last = self.last + energy_bar.mT @ softplus(evaluation.last_preactivation)
            self.last_bias = self.last_bias + energy_bar.sum(dim=-2)
        for k in reversed(range(len(self.hidden))):
            self.hidden[k].add(a_bar, evaluation.hidden[k])
            self.hidden_bias[k] = self.hidden_bias[k] + a_bar.sum(dim=-2)
            a_bar = (a_bar @ self.weights.hidden[k]) * evaluation.slopes[k]
            a_bar = a_bar + g_bars[k] * evaluation.gradients[k] * (1 - evaluation.slopes[k])
        return a_bar

    def gradients(self):
        """In the order of `HNN.parameters()`."""
        first = torch.cat([self.first_q.sum(), self.first_p.sum()], dim=-1)
        matrices = [first, *(products.sum() for products in self.hidden), self.last]
        biases = [self.first_bias, *self.hidden_bias, self.last_bias]
        return [gradient for pair in zip(matrices, biases, strict=True) for gradient in pair]
