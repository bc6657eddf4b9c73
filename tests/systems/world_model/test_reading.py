"""Momenta read from a path: against the state that the places were made from."""

import pytest
import torch

from hjepa_utils.systems.world_model.bounces import BouncingDynamics, HardBodies
from hjepa_utils.systems.world_model.coordinates import Place
from hjepa_utils.systems.world_model.dynamics import ConstantDamping, ScaledLinear
from hjepa_utils.systems.world_model.encoders import MomentumHead
from hjepa_utils.systems.world_model.reading import PathMomentum, read_momenta

DT, K = 0.05, 4


def world():
    control = ScaledLinear(2, 4)
    with torch.no_grad():
        control.weight.zero_()[:2] = 3 * torch.eye(2)
    return BouncingDynamics(HardBodies(2, 0.84, 0.32), control, ConstantDamping(0.3), dt=DT, substeps=2)


def windows():
    """Four places each: the second body meets a wall between the first two, … the last two; never; and
    both meet between the middle two. And the momenta at the last."""
    start = torch.zeros(5, 8)
    start[:, 4:] = torch.tensor([0.4, 0.2, 1.5, -0.3])
    start[:, 2] = torch.tensor([0.81, 0.735, 0.66, 0.3, 0.0])
    start[:, 3] = 0.5
    start[4] = torch.tensor([-0.23, 0.0, 0.23, 0.05, 1.0, 0.0, -0.7, 0.1])
    u = torch.tensor([0.5, -1.0]).expand(5, K - 1, 2)
    with torch.no_grad():
        path = world().rollout(start, u)
    return path[..., :4], u, path[:, -1, 4:]


def test_momenta_come_through_contacts():
    """A difference of places does not: across the last interval it is far off."""
    q, u, p = windows()
    read = read_momenta(world(), q, u, dt=DT)
    torch.testing.assert_close(read, p, rtol=0, atol=2e-3)
    last = (q[:, -1] - q[:, -2]) / DT
    assert (last - p).abs().amax(dim=1)[2] > 1  # in the last interval


def test_places_that_are_a_little_wrong_make_momenta_a_little_wrong():
    """A slope through four places with noise σ is wrong by σ / (√5 dt), and little more through a contact."""
    q, u, p = windows()
    noise = 1e-3 * torch.randn(400, 5, K, 4, generator=torch.Generator().manual_seed(0))
    read = read_momenta(world(), (q + noise).flatten(0, 1), u.repeat(400, 1, 1), dt=DT).unflatten(0, (400, 5))
    off = (read - p).square().mean(dim=(0, 2)).sqrt()
    assert off[3] == pytest.approx(1e-3 / (5**0.5 * DT), rel=0.15)
    assert (off < 0.05).all()


def test_it_learns_as_a_head_and_predicts_by_paths():
    q, u, p = windows()
    momentum = PathMomentum(world(), Place, 4, 2, n_frames=K, dt=DT, hidden=0)
    head = MomentumHead(Place, 4, 2, n_frames=K, dt=DT, hidden=0)
    assert torch.equal(momentum(q, u), head(q, u))
    assert momentum(q, u).requires_grad
    assert momentum.state_dict().keys() == head.state_dict().keys()  # the dynamics are the model's
    torch.testing.assert_close(momentum.eval()(q, u), p, rtol=0, atol=2e-3)
