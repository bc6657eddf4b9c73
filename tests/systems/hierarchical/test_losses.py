"""The terms by hand."""

import numpy as np
import pytest
import torch

from hjepa_utils import HierarchicalJEPA, seeded
from hjepa_utils.systems.hierarchical import losses
from hjepa_utils.systems.hierarchical.networks import InverseDynamics
from hjepa_utils.systems.hierarchical.world import draw_sequences


def samples(n=500, width=4, seed=0):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_variance_falls_short_by_what_a_deviation_lacks():
    z = samples()
    z = (z - z.mean(dim=0)) / z.std(dim=0) * torch.tensor([0.0, 0.3, 1.0, 5.0], dtype=z.dtype)
    expected = np.mean([1 - 1e-4**0.5, 1 - (0.09 + 1e-4) ** 0.5, 0.0, 0.0])
    assert losses.variance(z).item() == pytest.approx(expected, rel=1e-9)


def test_covariance_is_that_of_numpy():
    z = samples() @ samples(4, 4, seed=1)
    matrix = np.cov(z.numpy(), rowvar=False)
    expected = (np.square(matrix).sum() - np.square(np.diag(matrix)).sum()) / 4
    assert losses.covariance(z).item() == pytest.approx(expected, rel=1e-9)
    assert losses.covariance(z[:, :1]).item() == 0


def test_what_does_not_change_earns_nothing_by_changes_and_all_by_plain():
    """Constants of a sequence fill every dimension: enough for plain statistics, nothing for changes."""
    constant = samples(4000)
    (change,) = losses.STATISTICS["changes"](constant, constant)
    assert losses.variance(change).item() == pytest.approx(1 - 1e-2)
    for branch in losses.STATISTICS["plain"](constant, constant):
        assert losses.variance(branch).item() < 0.02
    (change,) = losses.STATISTICS["changes"](constant, samples(4000, seed=1))
    assert losses.variance(change).item() < 0.02  # independent samples keep their deviation


def test_the_total_is_weighted():
    terms = losses.Terms(*(torch.tensor(float(10**k)) for k in range(7)))
    weights = losses.Weights(2.0, 3.0, 5.0, 7.0)
    assert terms.total(weights).item() == 2 * 11 + 3 * 1100 + 5 * 110_000 + 7 * 1_000_000


@pytest.fixture(scope="module")
def small():
    with seeded(0):
        model = HierarchicalJEPA(width=16, heads=2, hidden=16, depth=3, shallow=1)
        return model, InverseDynamics(16, 6), draw_sequences(6, rng=np.random.default_rng(0))


def test_terms_compare_what_is_predicted_with_what_is_encoded_there(small):
    model, inverse, batch = small
    terms = losses.jepa_terms(model, inverse, batch, 4, n_ahead=3, places=(5, 15), statistics="plain")
    positions, forces, scale = batch.positions, batch.forces, 3**0.5 / 450
    near, far, read = [], [], []
    with torch.no_grad():
        windows = [model.tokens(positions[:, k : k + 16], batch.masses) for k in (0, 25)]
        for first, (shallow, _) in zip((0, 25), windows, strict=True):
            z = shallow[:, 4]
            for t in range(3):
                z = model.predict_next(z, forces[:, first + 4 + t])
                near.append((z - shallow[:, 5 + t]).square().mean())
            force = inverse(shallow[:, 4], shallow[:, 5])
            read.append((force - scale * forces[:, first + 4].flatten(1)).square().mean())
        for place in (5, 15):
            z = model.predict_event(windows[0][1][:, place], forces[:, place : place + 25])
            far.append((z - windows[1][1][:, place]).square().mean())
    assert terms.invariance_shallow.item() == pytest.approx(torch.stack(near).mean().item(), rel=1e-4)
    assert terms.invariance_deep.item() == pytest.approx(torch.stack(far).mean().item(), rel=1e-4)
    assert terms.inverse.item() == pytest.approx(torch.stack(read).mean().item(), rel=1e-4)
    deep = [torch.cat([tokens[1][:, place] for place in (5, 15)]) for tokens in windows]
    expected = torch.stack([losses.variance(branch) for branch in deep]).mean().item()
    assert terms.variance_deep.item() == pytest.approx(expected, rel=1e-4)


def test_both_branches_and_every_part_feel_the_gradient(small):
    model, inverse, batch = small
    model.zero_grad()
    losses.jepa_terms(model, inverse, batch, 4).total(losses.Weights()).backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []
    target = torch.zeros(2, 16, requires_grad=True)
    losses.event_loss(model, torch.ones(2, 16), target, torch.zeros(2, 25, 3, 2)).backward()
    assert target.grad.any()


def test_the_first_loss_of_the_papers_size_is_near_the_published_one():
    """About 121 is published; VICReg's weights on two taps begin there, whatever the statistics."""
    with seeded(0):
        model, inverse = HierarchicalJEPA(), InverseDynamics(256, 6)
    batch = draw_sequences(32, rng=np.random.default_rng(0))
    for statistics in losses.STATISTICS:
        with torch.no_grad():
            terms = losses.jepa_terms(model, inverse, batch, 5, statistics=statistics)
        assert terms.total(losses.Weights()).item() == pytest.approx(121, abs=30)
