"""Energies and networks of bodies: derivatives, symmetries, sizes."""

import pytest
import torch

import hjepa_utils as hj
from hjepa_utils.dynamics.entities import EntityHamiltonian, InteractionNetwork
from hjepa_utils.dynamics.symplecticity import step_jacobian


def bodies(n=5, n_bodies=3, n_dims=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 2 * n_bodies * n_dims, generator=generator, dtype=torch.float64)


def energy(n_bodies=3, n_dims=2):
    with hj.seeded(0):
        model = EntityHamiltonian(n_bodies, n_dims, n_units=16).double()
    model.log_mass.data = torch.linspace(-0.5, 0.7, n_bodies, dtype=torch.float64)
    return model


@pytest.mark.parametrize(("n_bodies", "n_dims"), [(1, 2), (2, 2), (3, 2), (2, 3)])
def test_gradients_are_those_of_autograd(n_bodies, n_dims):
    model = energy(n_bodies, n_dims)
    z = bodies(n_bodies=n_bodies, n_dims=n_dims).requires_grad_()
    (expected,) = torch.autograd.grad(model(z).sum(), z)
    torch.testing.assert_close(model.gradient(z), expected, atol=1e-10, rtol=1e-10)
    half = z.shape[1] // 2
    torch.testing.assert_close(model.gradient_q(z), expected[:, :half], atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(model.gradient_p(z), expected[:, half:], atol=1e-10, rtol=1e-10)


def test_is_the_sum_it_says_it_is():
    model, z = energy(2), bodies(1, n_bodies=2)[0]
    q, p = z.reshape(2, 2, 2)
    soft = torch.nn.functional.softplus
    walls = sum((soft(model.wall_slope @ x + model.wall_level) * model.wall_height).sum() for x in q)
    distance = (q[0] - q[1]).norm()
    pair = (soft(distance * model.pair_slope + model.pair_level) * model.pair_height).sum()
    kinetic = (p.square().sum(dim=1) / (2 * model.log_mass.exp())).sum()
    torch.testing.assert_close(model(z), walls + pair + kinetic)


def test_bodies_of_one_mass_may_be_exchanged():
    model, z = energy(), bodies()
    model.log_mass.data.zero_()
    order = [2, 0, 1]
    swapped = z.unflatten(1, (2, 3, 2))[:, :, order].flatten(1)
    torch.testing.assert_close(model(swapped), model(z))


def test_leapfrog_on_it_is_symplectic():
    defect = hj.symplectic_defect(step_jacobian(hj.leapfrog_step, energy(), bodies(1)[0], 0.1))
    assert defect.spectral < 1e-11


def test_dynamics_of_it_are_saved_and_loaded(tmp_path):
    dynamics, z = hj.HamiltonianDynamics(energy().float()), bodies().float()
    dynamics.save_pretrained(tmp_path)
    loaded = hj.HamiltonianDynamics.from_pretrained(tmp_path)
    assert torch.equal(loaded.rollout(z, 3), dynamics.rollout(z, 3))


def test_an_interaction_network_does_not_know_the_order_of_bodies():
    with hj.seeded(0):
        network = InteractionNetwork(3, 2, 8).double()
    z, order = bodies(), [1, 2, 0]
    swap = lambda z: z.unflatten(1, (2, 3, 2))[:, :, order].flatten(1)  # noqa: E731
    torch.testing.assert_close(network(swap(z)), swap(network(z)))
    assert network.rollout(z, 4).shape == (5, 5, 12)


def test_a_body_alone_meets_no_other():
    """One body: the pair network has nothing to say."""
    with hj.seeded(0):
        network = InteractionNetwork(1, 2, 8).double()
    z, before = bodies(n_bodies=1), None
    before = network(z)
    for parameter in network.pair.parameters():
        parameter.data.add_(1.0)
    assert torch.equal(network(z), before)


@pytest.mark.parametrize("size", [100, 611, 70_000])
def test_an_interaction_network_is_as_large_as_it_may_be(size):
    network = InteractionNetwork.of_size(2, 2, size)
    wider = InteractionNetwork(2, 2, network.hidden_dim + 1)
    assert hj.n_parameters(network) <= size < hj.n_parameters(wider)


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="needs 29 parameters or more, got 5"):
        InteractionNetwork.of_size(2, 2, 5)
    with pytest.raises(ValueError, match="1 or more, got 0 and 2"):
        EntityHamiltonian(0)
    with pytest.raises(ValueError, match="width 12"):
        energy()(bodies(n_bodies=2))
