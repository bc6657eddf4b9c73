"""The rivals: their shapes, and one step of each against the equation in its docstring."""

import pytest
import torch

from hjepa_utils import seeded
from hjepa_utils.systems.world_model import rivals
from hjepa_utils.systems.world_model.coordinates import Angle, Place

DT = 0.05
BUILT = {
    "residual MLP": lambda c, n, a: rivals.ResidualMLP(c, n, a, dt=DT),
    "neural ODE": lambda c, n, a: rivals.DrivenODE(c, n, a, dt=DT),
    "free force": lambda c, n, a: rivals.FreeForce(c, n, a, dt=DT),
    "GRU": rivals.DrivenGRU,
    "persistence": lambda c, n, a: rivals.Still(),
}


def new(name, coordinates=Angle, n=1, action_dim=1):
    """A rival that no longer says nothing."""
    with seeded(0):
        model = BUILT[name](coordinates, n, action_dim)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return model.double()


def starts(n=1, action_dim=1, n_steps=3):
    generator = torch.Generator().manual_seed(1)
    z0 = torch.randn(2, 5, 2 * n, generator=generator, dtype=torch.float64)
    return z0, torch.randn(2, 5, n_steps, action_dim, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", BUILT)
@pytest.mark.parametrize(("coordinates", "n", "action_dim"), [(Angle, 1, 1), (Place, 4, 2)])
def test_a_rollout_begins_where_it_is_told_and_takes_any_batch(name, coordinates, n, action_dim):
    model, (z0, actions) = new(name, coordinates, n, action_dim), starts(n, action_dim)
    path = model.rollout(z0, actions)
    assert path.shape == (2, 5, 4, 2 * n)
    assert torch.equal(path[..., 0, :], z0)
    alone = model.rollout(z0[1, 2:3], actions[1, 2:3])
    torch.testing.assert_close(alone, path[1, 2:3])


@pytest.mark.parametrize("name", ["residual MLP", "neural ODE", "free force", "GRU"])
def test_an_angle_may_be_counted_with_any_number_of_turns(name):
    model, (z0, actions) = new(name), starts()
    turned = z0 + torch.tensor([2 * torch.pi, 0.0], dtype=torch.float64)
    path, other = model.rollout(z0, actions), model.rollout(turned, actions)
    assert Angle.difference(path[..., 0], other[..., 0]).abs().max() < 1e-12
    torch.testing.assert_close(path[..., 1], other[..., 1])


@pytest.mark.parametrize("name", ["residual MLP", "neural ODE", "free force", "GRU"])
def test_an_action_acts_from_the_next_frame_on(name):
    model, (z0, actions) = new(name), starts()
    other = actions.clone()
    other[..., 1, :] += 1
    apart = (model.rollout(z0, actions) - model.rollout(z0, other)).abs().amax(dim=(0, 1, 3))
    assert (apart[:2] == 0).all()
    assert (apart[2:] > 1e-4).all()


def test_the_free_force_moves_places_by_momenta_alone():
    model, (z0, actions) = new("free force"), starts()
    path = model.rollout(z0, actions)
    torch.testing.assert_close(path[..., 1:, 0] - path[..., :-1, 0], DT * path[..., 1:, 1])


def test_the_neural_ode_is_of_fourth_order():
    """Against a hundred steps of the same field in the same time."""
    model, (z0, actions) = new("neural ODE"), starts(n_steps=1)

    def end(n):
        model.dt = 0.4 / n
        return model.rollout(z0, actions.expand(-1, -1, n, -1))[..., -1, :]

    exact = end(128)
    ratio = (end(2) - exact).norm() / (end(4) - exact).norm()
    assert 11 < ratio < 24


def test_before_training_nothing_is_said():
    z0, actions = starts()
    for name in ("residual MLP", "neural ODE"):
        model = BUILT[name](Angle, 1, 1).double()
        assert torch.equal(model.rollout(z0, actions), z0[..., None, :].expand(-1, -1, 4, -1))
    coasting = BUILT["free force"](Angle, 1, 1).double().rollout(z0, actions)
    torch.testing.assert_close(coasting[..., 3, 0], z0[..., 0] + 3 * DT * z0[..., 1])


def test_the_memory_is_torchs_own_cell():
    model, (z0, actions) = new("GRU"), starts()
    cell = torch.nn.GRUCell(1, 64).double()
    cell.weight_ih.data, cell.bias_ih.data = model.by_action.weight.data, model.by_action.bias.data
    cell.weight_hh.data, cell.bias_hh.data = model.by_memory.weight.data, model.by_memory.bias.data
    seen = torch.cat([Angle.features(z0[0, :, :1]), z0[0, :, 1:] / 4], dim=-1)
    h = model.first(seen).tanh()
    for t in range(3):
        h = cell(actions[0, :, t], h)
    cos, sin, p = model.last(h).unbind(dim=-1)
    wanted = torch.stack([torch.atan2(sin, cos), 4 * p], dim=-1)
    torch.testing.assert_close(model.rollout(z0, actions)[0, :, 3], wanted)
