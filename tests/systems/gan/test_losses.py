"""Losses against closed forms and plain sums."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from hjepa_utils.systems.gan.losses import Geco, cross_entropy, cyclic_loss, divergence, r1_penalty


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_the_cross_entropy_is_least_where_the_logits_say_the_label():
    logits = torch.tensor([math.log(9.0)] * 3, requires_grad=True)  # a probability of 0.9
    loss = cross_entropy(logits, 0.9)
    loss.backward()
    torch.testing.assert_close(loss.item(), -0.9 * math.log(0.9) - 0.1 * math.log(0.1))
    torch.testing.assert_close(logits.grad, torch.zeros(3), atol=1e-7, rtol=0)


def test_the_r1_penalty_of_a_quadratic_is_its_slope_squared():
    scale = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    real = normal(6, 2, 3)
    penalty = r1_penalty(lambda x: scale * x.square().sum(dim=(1, 2)) / 2, real)  # slope: scale x
    expected = scale**2 * real.square().sum(dim=(1, 2)).mean()
    torch.testing.assert_close(penalty, expected)
    torch.testing.assert_close(torch.autograd.grad(penalty, scale), torch.autograd.grad(expected, scale))


def test_the_cyclic_loss_sums_over_times_and_coordinates():
    rates = normal(4, 5, 3)
    torch.testing.assert_close(cyclic_loss(rates).item(), sum(abs(r) for r in rates.flatten().tolist()) / 4)


def test_the_divergence_is_that_of_torch():
    mean, log_variance = normal(5, 7), normal(5, 7, seed=1)
    between = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(divergence(mean, log_variance), between.sum(dim=1).mean())


def test_geco_raises_its_weight_until_the_tolerance_is_met_and_lowers_it_after():
    geco = Geco(0.1, decay=0.0, rate=0.5)
    weights = []
    for error in (0.5, 0.5, 0.0, 0.0):
        geco(torch.tensor(error))
        weights.append(geco.weight.item())
    steps = torch.tensor(weights).log().diff(prepend=torch.zeros(1))
    torch.testing.assert_close(steps, 0.5 * (torch.tensor([0.5, 0.5, 0.0, 0.0]) - 0.01), atol=1e-6, rtol=1e-5)


def test_geco_has_the_mean_of_all_batches_and_the_slope_of_this_one():
    geco = Geco(0.0, decay=0.9, rate=0.0)
    geco(torch.tensor(1.0))
    error = torch.tensor(2.0, requires_grad=True)
    loss = geco(error)
    loss.backward()
    torch.testing.assert_close(loss.item(), 0.9 * 1.0 + 0.1 * 2.0)
    assert error.grad is not None and error.grad.item() == 1.0


def test_geco_goes_on_after_a_pause_as_it_was():
    geco, again = Geco(0.1), Geco(0.1)
    geco(torch.tensor(0.7))
    again.load_state_dict(geco.state_dict())
    assert geco(torch.tensor(0.3)) == again(torch.tensor(0.3)) and geco.weight == again.weight


def test_geco_stays_within_its_bounds():
    geco = Geco(0.0, decay=0.0, rate=1e6)
    geco(torch.tensor(1.0))
    assert geco.weight.item() == pytest.approx(1e10, rel=1e-4)
