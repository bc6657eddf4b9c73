"""Paths from contact to contact: against the dynamics that go from time to time."""

import pytest
import torch

from hjepa_utils.systems.contact.paths import states_at
from hjepa_utils.systems.contact.windows import unit_table

TIMES = [-19, -7, -3.5, 0, 1, 8, 15, 60]


@pytest.fixture
def table():
    return unit_table(2, pairs=[(0, 1)], distance=0.37)


@pytest.fixture
def states():
    generator = torch.Generator().manual_seed(0)
    q = torch.rand(40, 4, generator=generator, dtype=torch.float64) * 1.8 - 0.9
    return torch.cat([q, torch.randn(40, 4, generator=generator, dtype=torch.float64)], dim=1)


def test_paths_are_those_of_the_dynamics(table, states):
    expected = table.states_at(states, TIMES)
    torch.testing.assert_close(states_at(table, states, TIMES), expected, atol=1e-10, rtol=0)
    turned = (expected[..., 4:] - states[:, None, 4:]).abs().amax(dim=(1, 2)) > 1e-6
    assert turned.sum() > 30  # through contacts


@pytest.mark.parametrize("times", [[1, 5], [-5, -1], [0]])
def test_paths_to_one_side_and_to_none(table, states, times):
    torch.testing.assert_close(states_at(table, states, times), table.states_at(states, times))


def test_derivatives_are_those_of_the_dynamics(table, states):
    table.pair_distance.requires_grad_(True)
    weight = torch.randn(8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    slopes = []
    for path in (lambda z: states_at(table, z, TIMES), lambda z: table.states_at(z, TIMES)):
        z = states.clone().requires_grad_(True)
        read = (path(z) @ weight).sin().sum()
        slopes.append(torch.autograd.grad(read, (z, table.pair_distance)))
    for mine, theirs in zip(*slopes, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-6)
    assert slopes[0][1].abs() > 1e-3


def test_a_state_that_does_not_get_away_disturbs_no_other(table, states):
    bad = states.clone()
    bad[0] = torch.tensor([1.0, 1, 1, 1, 0.3, 0.2, 0.1, 0.4])  # two bodies in one corner
    bad[1, :4] = 3.0  # beyond the walls
    found = states_at(table, bad, TIMES)
    assert found.isfinite().all()
    torch.testing.assert_close(found[2:], states_at(table, states, TIMES)[2:], atol=1e-10, rtol=0)
