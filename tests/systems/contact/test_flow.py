"""The event-driven flow: against closed forms and the simulator, and what it preserves."""

import numpy as np
import pytest
import torch
from torch.func import jacrev

import hjepa_utils as hj
from hjepa_utils.dynamics.symplecticity import symplectic_defect
from hjepa_utils.systems.contact.flow import Gaps, flow

SIZE, RADIUS = 256.0, 20.0


def box(masses=(1.0, 1.0)):
    """The simulator's table for two balls, by hand; a step is a second."""
    model = hj.ContactDynamics(2, [0, 0, 0, 0, 1, 1, 1, 1], [(0, 1)], [1] * 9)
    normals = torch.tensor([[1, 0], [-1, 0], [0, 1], [0, -1]], dtype=torch.float64).repeat(2, 1)
    model.wall_normal.data = normals
    model.wall_offset.data = torch.where(normals.sum(dim=1) > 0, RADIUS, -(SIZE - RADIUS)).double()
    model.pair_distance.data.fill_(2 * RADIUS)
    model.mass.data = torch.tensor(masses, dtype=torch.float64)
    return model.requires_grad_(False)


def starts(n, seed=0, masses=(1.0, 1.0)):
    """z (n, 8) and the simulator's states (n, 2, 4)."""
    rng = np.random.default_rng(seed)
    states = np.stack([hj.simulate_collisions(1, rng=rng, masses=masses)[0] for _ in range(n)])
    return torch.from_numpy(np.concatenate([states[..., :2], states[..., 2:]], axis=1).reshape(n, 8)), states


def test_a_body_between_two_walls_moves_as_a_triangle_wave():
    level = torch.tensor([0.0, 3.0], dtype=torch.float64)
    gaps = Gaps(level.new_zeros(2, 1, 1), torch.tensor([[1.0], [-1.0]]).double(), level)
    times = torch.linspace(0, 40, 201, dtype=torch.float64)
    start, speed = (torch.full((201, 1), value, dtype=torch.float64) for value in (0.5, 0.7))
    y, w = flow(start, speed, times, gaps)
    phase = (0.5 + 0.7 * times) % 6
    torch.testing.assert_close(y[:, 0], 3 - (phase - 3).abs(), atol=1e-12, rtol=0)
    inside = (phase > 0.001) & (phase < 5.999) & ((phase - 3).abs() > 0.001)
    assert torch.equal(w[inside, 0] > 0, phase[inside] < 3)


def test_a_round_wall_reflects_from_inside():
    """In a circle, every chord of a path has the same length, and angular momentum stays."""
    minus_identity = -torch.eye(2, dtype=torch.float64)[None]
    gaps = Gaps(minus_identity, torch.zeros(1, 2).double(), torch.ones(1).double())
    y, w = torch.tensor([[0.6, 0.0]]).double(), torch.tensor([[0.3, 0.8]]).double()
    turn = y[:, 0] * w[:, 1] - y[:, 1] * w[:, 0]
    for _ in range(50):
        y, w = flow(y, w, 1.0, gaps)
        assert y.norm() <= 1 + 1e-12
    torch.testing.assert_close(y[:, 0] * w[:, 1] - y[:, 1] * w[:, 0], turn, atol=1e-12, rtol=0)


@pytest.mark.parametrize("masses", [(1.0, 1.0), (1.0, 5.0)])
def test_agrees_with_the_simulator(masses):
    z, states = starts(20, masses=masses)
    model = box(masses)
    predicted = model.from_canonical(model.advance(model.canonical(z), 1.7))
    for row, state in zip(predicted, states, strict=True):
        true = hj.advance_balls(state, 1.7, masses=masses)
        np.testing.assert_allclose(row[:4].reshape(2, 2), true[:, :2], atol=1e-9)
        np.testing.assert_allclose(row[4:].reshape(2, 2), true[:, 2:], atol=1e-9)


def meeting_start():
    """Canonical coordinates of a head-on course with an offset, 1 s long: a pair contact, then a wall."""
    z = torch.tensor([70.0, 120.0, 180.0, 135.0, 90.0, 3.0, -100.0, 4.0], dtype=torch.float64)
    model = box((1.0, 2.0))
    return model, model.canonical(z)


def test_derivatives_through_contacts_agree_with_finite_differences():
    model, yw = meeting_start()
    assert (model.advance(yw, 1.5)[4:] - yw[4:]).abs().max() > 10  # it does meet something
    jacobian, h = jacrev(lambda s: model.advance(s, 1.5))(yw), 1e-5
    for k in range(8):
        bump = h * torch.eye(8, dtype=torch.float64)[k]
        difference = (model.advance(yw + bump, 1.5) - model.advance(yw - bump, 1.5)) / (2 * h)
        torch.testing.assert_close(jacobian[:, k], difference, atol=1e-6, rtol=1e-6)


def test_derivatives_in_the_surfaces_and_in_time_agree_with_finite_differences():
    model, yw = meeting_start()
    model.requires_grad_(True)
    weights = torch.linspace(0.3, 1.7, 8, dtype=torch.float64)

    def end(time=1.5):
        return (weights * model.advance(yw, time)).sum()

    time = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    names = ("pair_distance", "pair_shift", "wall_offset", "wall_normal", "mass")
    gradients = torch.autograd.grad(end(time), [time, *(getattr(model, name) for name in names)])
    h = 1e-5
    assert gradients[0].item() == pytest.approx((end(1.5 + h) - end(1.5 - h)).item() / (2 * h), rel=1e-6)
    for name, gradient in zip(names, gradients[1:], strict=True):
        flat = getattr(model, name).data.view(-1)
        for k in range(len(flat)):
            flat[k] += h
            above = end().item()
            flat[k] -= 2 * h
            difference = (above - end().item()) / (2 * h)
            flat[k] += h
            assert gradient.reshape(-1)[k].item() == pytest.approx(difference, rel=1e-5, abs=1e-5)


def test_the_time_of_contact_moves_as_the_implicit_function_theorem_says():
    """A ball at x meets the wall at 236 after (236 - x) / v: the end has the derivatives of that."""
    model, z = box(), torch.tensor([100.0, 50.0, 100.0, 200.0, 120.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    jacobian = jacrev(lambda s: model.advance(s, 2.0))(z)
    assert model.advance(z, 2.0)[0].item() == pytest.approx(2 * 236 - 100 - 240)
    torch.testing.assert_close(jacobian[0, [0, 4]], torch.tensor([-1.0, -2.0]).double(), atol=1e-12, rtol=0)


def test_the_flow_is_symplectic_through_contacts_and_keeps_volume():
    model, yw = meeting_start()
    for time in (0.3, 1.5, 4.0):
        defect = symplectic_defect(jacrev(lambda s, time=time: model.advance(s, time))(yw))
        assert defect.spectral < 1e-8 and abs(defect.log_volume) < 1e-11


def test_goes_back_where_it_came_from():
    model, _ = meeting_start()
    yw = model.canonical(starts(20)[0])
    there = model.advance(yw, 2.0)
    assert (there - yw).abs().max() > 100
    torch.testing.assert_close(model.advance(there, -2.0), yw, atol=1e-8, rtol=0)


def test_keeps_the_energy_over_thousands_of_steps():
    model, z = box((1.0, 2.0)), starts(2)[0]
    y, w = model.canonical(z).chunk(2, dim=1)
    gaps, before = model.gaps(), w.square().sum(dim=1)
    for _ in range(2_000):
        y, w = flow(y, w, 4 / 30, gaps)
    torch.testing.assert_close(w.square().sum(dim=1), before, rtol=1e-11, atol=0)


def test_refuses_a_start_that_cannot_get_away():
    model = hj.ContactDynamics(1, [0, 0], [], [1, 1], n_dims=1).requires_grad_(False)
    model.wall_normal.data = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    model.wall_offset.data = torch.tensor([1.0, 1.0], dtype=torch.float64)  # x >= 1 and x <= -1
    with pytest.raises(ValueError, match="state 1 of 2 has more than 1,000 contacts"):
        model.rollout(torch.tensor([[0.0, 0.0], [0.0, 1.0]], dtype=torch.float64), 1)
