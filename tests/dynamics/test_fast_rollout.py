"""The fast rollouts against the plain steps with gradients by autograd."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import jacfwd, jacrev, jvp, vmap

from hjepa_utils import (
    HNN,
    Hamiltonian,
    HamiltonianDynamics,
    SeparableHNN,
    euler_step,
    leapfrog_step,
    rollout,
)
from hjepa_utils.dynamics.integrators import repeat
from hjepa_utils.dynamics.softplus import softplus

STEPS = (leapfrog_step, euler_step)


class AutogradEnergy(Hamiltonian):
    """An `HNN`'s energy from PyTorch's own functions, its gradient by autograd: the published way."""

    def __init__(self, hnn):
        super().__init__()
        self.layers = hnn.layers

    def forward(self, z):
        for layer in self.layers[:-1]:
            z = F.softplus(layer(z))
        return self.layers[-1](z).squeeze(-1)


def network(latent_dim=8, hidden_dims=(16, 12, 10), dtype=torch.float64, std=0.4):
    torch.manual_seed(0)
    hnn = HNN(latent_dim, hidden_dims).to(dtype)
    for parameter in hnn.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return hnn


def normal(*shape, seed=1, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def by_autograd(step, hnn, z0, dt, n_steps):
    energy = AutogradEnergy(hnn)
    states = repeat(lambda z: step(energy, z, dt), z0, n_steps)
    return states, energy(states)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("hidden_dims", [(7,), (16, 12), (16, 12, 10)])
def test_states_energies_and_every_derivative_are_those_of_autograd(step, hidden_dims):
    hnn, targets = network(hidden_dims=hidden_dims), normal(5, 7, 8, seed=2)
    z0, dt = normal(5, 8).requires_grad_(), torch.tensor(0.75, dtype=torch.float64)
    dynamics = HamiltonianDynamics(hnn, step, dt=0.75).double()
    wanted = [z0, *dynamics.parameters()]
    states, energies = dynamics.rollout_with_energy(z0, 6)
    plain_states, plain_energies = by_autograd(step, hnn, z0, dynamics.clamped_dt, 6)
    assert (plain_states[:, -1] - z0).norm(dim=1).min() > 0.5  # it moves
    torch.testing.assert_close(states, plain_states, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(energies, plain_energies, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(rollout(step, hnn, z0, dt, 6), plain_states, rtol=1e-10, atol=1e-10)

    def derivatives(states, energies):
        loss = (states - targets).square().mean() + 0.3 * (energies - energies[:, :1]).square().mean()
        return torch.autograd.grad(loss, wanted)

    plain = derivatives(plain_states, plain_energies)
    for mine, other in zip(derivatives(states, energies), plain, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("step", STEPS)
def test_in_float32_at_the_papers_size(step):
    hnn = HNN(1024)
    for layer in hnn.layers:
        torch.nn.init.xavier_normal_(layer.weight, gain=1.5, generator=torch.Generator().manual_seed(0))
    z0 = normal(4, 1024, dtype=torch.float32)
    with torch.no_grad():
        states = rollout(step, hnn, z0, 1.0, 15)
        plain, _ = by_autograd(step, hnn, z0, 1.0, 15)
    assert (plain[:, 1] - z0).norm(dim=1).mean() > 1.5  # about the published length of a step, 2.03
    torch.testing.assert_close(states, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("step", STEPS)
def test_a_rollout_is_differentiable_twice(step):
    hnn = network(4, (6, 5))
    z0, dt = normal(2, 4).requires_grad_(), torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda z0, dt: rollout(step, hnn, z0, dt, 3), (z0, dt))
    assert gradgradcheck(lambda z0, dt: rollout(step, hnn, z0, dt, 3), (z0, dt))


def test_training_derivatives_taken_twice_are_refused_and_not_wrong():
    dynamics, z0 = HamiltonianDynamics(network(4, (6, 5))).double(), normal(2, 4).requires_grad_()
    states, _ = dynamics.rollout_with_energy(z0, 2)
    (first,) = torch.autograd.grad(states.square().sum(), z0, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_jacobians_of_a_rollout_by_torch_func():
    hnn, z = network(4, (6, 5)), normal(3, 4)
    step = lambda z: rollout(leapfrog_step, hnn, z, 0.4, 2)[-1]  # noqa: E731
    plain = lambda z: by_autograd(leapfrog_step, hnn, z, 0.4, 2)[0][-1]  # noqa: E731
    expected = torch.stack([torch.autograd.functional.jacobian(plain, one) for one in z])
    for transform in (jacrev, jacfwd):
        torch.testing.assert_close(vmap(transform(step))(z), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(8,), (3, 8), (2, 3, 8)])
def test_any_leading_shape_and_no_step_at_all(shape):
    hnn, z0 = network(), normal(*shape)
    states = rollout(leapfrog_step, hnn, z0, 0.3, 4)
    assert states.shape == (*shape[:-1], 5, 8)
    torch.testing.assert_close(states[..., 1, :], leapfrog_step(hnn, z0, 0.3), rtol=1e-10, atol=1e-10)
    assert torch.equal(rollout(leapfrog_step, hnn, z0, 0.3, 0), z0.unsqueeze(-2))


class CountedForce(SeparableHNN):
    """Counts how often the force is asked for."""

    n_forces = 0

    def gradient_q(self, z):
        self.n_forces += 1
        return super().gradient_q(z)


def test_a_separable_rollout_is_the_steps_with_one_force_a_step():
    torch.manual_seed(0)
    energy, z0 = CountedForce(8, (12, 10)).double(), normal(3, 8)
    for parameter in energy.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    plain = repeat(lambda z: leapfrog_step(energy, z, 0.5), z0, 6)
    assert energy.n_forces == 12
    torch.testing.assert_close(rollout(leapfrog_step, energy, z0, 0.5, 6), plain, rtol=1e-12, atol=1e-12)
    assert energy.n_forces == 12 + 7


def test_softplus_and_its_derivatives_are_pytorchs():
    a = torch.cat([torch.linspace(-60, 60, 241, dtype=torch.float64), torch.tensor([-800.0, 800.0])])
    exact = torch.logaddexp(a, torch.zeros_like(a))
    torch.testing.assert_close(softplus(a), exact, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(softplus(a.float()), exact.float(), rtol=1e-6, atol=1e-7)
    small = torch.linspace(-3, 3, 7, dtype=torch.float64, requires_grad=True)  # with the corner of |a|
    assert gradcheck(softplus, small, check_forward_ad=True) and gradgradcheck(softplus, small)
    torch.testing.assert_close(vmap(jacrev(softplus))(small.detach()), torch.sigmoid(small.detach()))


@torch.no_grad()
def test_softplus_in_no_grad_mode_has_the_same_bits_and_forward_derivatives():
    a = torch.linspace(-3, 3, 7)  # with the corner of |a|
    with torch.enable_grad():
        with_grad = softplus(a)
    assert torch.equal(softplus(a), with_grad)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(softplus(forward_ad.make_dual(a, torch.ones(7)))).tangent
    torch.testing.assert_close(tangent, torch.sigmoid(a))
    torch.testing.assert_close(jvp(softplus, (a,), (torch.ones(7),))[1], torch.sigmoid(a))
    torch.testing.assert_close(vmap(softplus)(a), with_grad)
