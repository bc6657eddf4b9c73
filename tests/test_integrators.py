"""The steps in float64: closed forms, measured orders, reversibility, symplecticity, energy."""

import math

import pytest
import torch
from torch.autograd import gradcheck
from torch.func import jacrev

from hjepa_utils import HNN, Hamiltonian, SeparableHNN, euler_step, leapfrog_step, rollout

STEPS = (leapfrog_step, euler_step)


class Oscillator(Hamiltonian):
    """H = (p² + ω²q²)/2."""

    def __init__(self, omega=1.0):
        super().__init__()
        self.omega = omega

    def forward(self, z):
        q, p = z.chunk(2, dim=-1)
        return (p.square() + (self.omega * q).square()).sum(dim=-1) / 2


class Pendulum(Hamiltonian):
    """H = p²/2 - cos q."""

    def forward(self, z):
        q, p = z.chunk(2, dim=-1)
        return (p.square() / 2 - torch.cos(q)).sum(dim=-1)

    def gradient(self, z):
        q, p = z.chunk(2, dim=-1)
        return torch.cat([torch.sin(q), p], dim=-1)


class CoupledPendulum(Hamiltonian):
    """A joint energy, H = p²(1 + cos²q)/2 - cos q."""

    def forward(self, z):
        q, p = z.chunk(2, dim=-1)
        return (p.square() * (1 + torch.cos(q).square()) / 2 - torch.cos(q)).sum(dim=-1)


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def network(kind, latent_dim=8, seed=0):
    """Weights large enough that the Hessian is far from zero."""
    torch.manual_seed(seed)
    model = kind(latent_dim, (24, 24)).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    return model


def runge_kutta(hamiltonian, z, seconds, n_steps):
    """The classic fourth-order method, as the reference solution."""
    h = seconds / n_steps

    def velocity(z):
        dq, dp = hamiltonian.gradient(z).detach().chunk(2, dim=-1)
        return torch.cat([dp, -dq], dim=-1)

    for _ in range(n_steps):
        k1 = velocity(z)
        k2 = velocity(z + h / 2 * k1)
        k3 = velocity(z + h / 2 * k2)
        k4 = velocity(z + h * k3)
        z = z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return z


def measured_order(step, hamiltonian, z0):
    """The slope of log error against log h at t = 1."""
    exact = runge_kutta(hamiltonian, z0, 1.0, 400)
    counts = torch.tensor([40, 80, 160, 320])
    errors = [(rollout(step, hamiltonian, z0, 1 / n, n)[-1] - exact).norm() for n in counts.tolist()]
    x, y = torch.log(1 / counts.double()), torch.stack(errors).detach().log()
    return ((x - x.mean()) * (y - y.mean())).sum().item() / (x - x.mean()).square().sum().item()


def defect(step, hamiltonian, z, dt):
    """max |MᵀJM - J| of the step's Jacobian M."""
    half = len(z) // 2
    eye, zero = torch.eye(half, dtype=z.dtype), torch.zeros(half, half, dtype=z.dtype)
    form = torch.cat([torch.cat([zero, eye], 1), torch.cat([-eye, zero], 1)])
    jacobian = jacrev(lambda z: step(hamiltonian, z, dt))(z)
    return (jacobian.T @ form @ jacobian - form).abs().max().item()


def test_leapfrog_on_the_oscillator_is_its_closed_form():
    """The map's trace is 2 - (hω)², so it turns an ellipse by θ = arccos(1 - (hω)²/2) a step."""
    omega, h, n = 1.7, 0.3, 200
    turn, axis = math.acos(1 - (h * omega) ** 2 / 2), omega * math.sqrt(1 - (h * omega / 2) ** 2)
    expected = [0.8 * math.cos(n * turn), -0.8 * axis * math.sin(n * turn)]
    end = rollout(leapfrog_step, Oscillator(omega), vector(0.8, 0.0), h, n)[-1]
    torch.testing.assert_close(end, vector(*expected), rtol=0, atol=1e-12)


def test_euler_on_the_oscillator_is_its_closed_form():
    """q + ip is multiplied by 1 - ih every step."""
    expected = (0.8 + 0.1j) * (1 - 0.3j) ** 20
    end = rollout(euler_step, Oscillator(), vector(0.8, 0.1), 0.3, 20)[-1]
    torch.testing.assert_close(end, vector(expected.real, expected.imag), rtol=1e-13, atol=0)


def test_leapfrog_is_the_papers_algorithm_on_a_joint_energy():
    """Half kick, drift and half kick with p½ throughout, the derivatives written out."""

    def force(q, p):
        return p**2 * math.cos(q) * math.sin(q) - math.sin(q)

    q, p, h = 1.1, 0.7, 0.3
    p_half = p + h / 2 * force(q, p)
    q_new = q + h * p_half * (1 + math.cos(q) ** 2)
    p_new = p_half + h / 2 * force(q_new, p_half)
    end = leapfrog_step(CoupledPendulum(), vector(q, p), h)
    torch.testing.assert_close(end, vector(q_new, p_new), rtol=1e-14, atol=0)


@pytest.mark.parametrize(
    ("step", "hamiltonian", "order"),
    [
        (leapfrog_step, Pendulum(), 2),
        (leapfrog_step, CoupledPendulum(), 1),
        (euler_step, Pendulum(), 1),
        (euler_step, CoupledPendulum(), 1),
    ],
)
def test_the_measured_order(step, hamiltonian, order):
    assert measured_order(step, hamiltonian, vector(1.1, 0.7)) == pytest.approx(order, abs=0.05)


def test_leapfrog_is_first_order_on_a_joint_network_and_second_on_a_separable_one():
    z0 = torch.randn(8, dtype=torch.float64, generator=torch.manual_seed(2)) / 2
    assert measured_order(leapfrog_step, network(SeparableHNN), z0) == pytest.approx(2, abs=0.1)
    assert measured_order(leapfrog_step, network(HNN), z0) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("kind", [HNN, SeparableHNN])
def test_a_negative_dt_undoes_leapfrog_only_on_a_separable_energy(kind):
    model, z0 = network(kind), torch.randn(5, 8, dtype=torch.float64, generator=torch.manual_seed(2))
    with torch.no_grad():
        there = rollout(leapfrog_step, model, z0, 0.1, 10)[:, -1]
        back = rollout(leapfrog_step, model, there, -0.1, 10)[:, -1]
    error = (back - z0).abs().max() / (there - z0).abs().max()
    assert error < 1e-12 if kind is SeparableHNN else error > 1e-3


def test_the_pendulum_runs_back_when_its_momentum_is_reversed():
    """Needs H(q, -p) = H(q, p) as well, which no learned T(p) has."""
    z0, reverse = vector(1.0, 0.3), vector(1, -1)
    there = rollout(leapfrog_step, Pendulum(), z0, 0.1, 100)[-1]
    back = reverse * rollout(leapfrog_step, Pendulum(), reverse * there, 0.1, 100)[-1]
    torch.testing.assert_close(back, z0, rtol=0, atol=1e-12)
    joint = CoupledPendulum()
    there = rollout(leapfrog_step, joint, z0, 0.1, 100)[-1].detach()
    back = reverse * rollout(leapfrog_step, joint, reverse * there, 0.1, 100)[-1]
    assert (back - z0).abs().max() > 1e-3


def test_leapfrog_is_symplectic_only_on_a_separable_energy():
    z = torch.randn(8, dtype=torch.float64, generator=torch.manual_seed(2))
    assert defect(leapfrog_step, network(SeparableHNN), z, 0.3) < 1e-12
    assert defect(leapfrog_step, network(HNN), z, 0.3) > 1e-3
    assert defect(euler_step, network(SeparableHNN), z, 0.3) > 1e-3


def test_leapfrog_keeps_the_pendulums_energy_and_euler_does_not():
    pendulum, z0, n = Pendulum(), vector(1.0, 0.0), 10_000
    with torch.no_grad():
        energy = pendulum(rollout(leapfrog_step, pendulum, z0, 0.1, n))
        grown = pendulum(rollout(euler_step, pendulum, z0, 0.1, 100))
    drift = (energy - energy[0]).abs()
    assert drift.max() < 0.1**2  # O(h²), for all times
    torch.testing.assert_close(drift[n // 2 :].max(), drift[: n // 2].max(), rtol=0.02, atol=0)
    assert grown[-1] - grown[0] > 0.2 and (grown[50] - grown[0]) > 0.1


@pytest.mark.parametrize("step", STEPS)
def test_a_rollout_repeats_the_step_and_begins_with_z0(step):
    z0 = torch.randn(2, 3, 8, dtype=torch.float64, generator=torch.manual_seed(2))
    model = network(HNN)
    states = rollout(step, model, z0, 0.2, 4)
    assert states.shape == (2, 3, 5, 8)
    assert torch.equal(states[..., 0, :], z0)
    for t in range(4):
        expected = step(model, states[..., t, :], 0.2)
        torch.testing.assert_close(states[..., t + 1, :], expected, rtol=1e-13, atol=1e-13)


def test_a_rollout_of_no_steps_is_the_start():
    z0 = torch.randn(3, 8, dtype=torch.float64)
    assert torch.equal(rollout(leapfrog_step, network(HNN), z0, 0.2, 0), z0[:, None])


def test_impossible_rollouts_are_refused():
    with pytest.raises(ValueError, match="n_steps must not be negative, got -1"):
        rollout(leapfrog_step, Pendulum(), vector(1, 0), 0.1, -1)
    with pytest.raises(ValueError, match="even number of dimensions, got 3"):
        rollout(leapfrog_step, Pendulum(), vector(1, 0, 0), 0.1, 2)
    with pytest.raises(ValueError, match=r"takes z of width 8, got \(6,\)"):
        rollout(leapfrog_step, network(HNN), torch.zeros(6, dtype=torch.float64), 0.1, 2)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("hamiltonian", [Pendulum(), network(HNN, 4), network(SeparableHNN, 4)])
def test_a_step_alone_refuses_an_odd_latent(step, hamiltonian):
    with pytest.raises(ValueError):
        step(hamiltonian, torch.ones(3, dtype=torch.float64), 0.1)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("hamiltonian", [CoupledPendulum(), network(HNN, 4)])
def test_gradients_pass_through_a_rollout(step, hamiltonian):
    """By z0 and dt, against finite differences."""
    z0 = torch.randn(2, 4, dtype=torch.float64, generator=torch.manual_seed(2)).requires_grad_()
    dt = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda z0, dt: rollout(step, hamiltonian, z0, dt, 3), (z0, dt))


def test_the_weights_get_gradients_through_a_rollout():
    model, z0 = network(HNN, 4), torch.randn(2, 4, dtype=torch.float64, generator=torch.manual_seed(2))
    weight = model.layers[0].weight
    rollout(leapfrog_step, model, z0, 0.3, 3).square().sum().backward()
    slope, h = weight.grad[1, 2].item(), 1e-6
    sums = []
    with torch.no_grad():
        for change in (h, -2 * h):
            weight[1, 2] += change
            sums.append(rollout(leapfrog_step, model, z0, 0.3, 3).square().sum().item())
    assert slope == pytest.approx((sums[0] - sums[1]) / (2 * h), rel=1e-6)
