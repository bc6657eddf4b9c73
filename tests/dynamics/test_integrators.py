"""The steps in float64: closed forms, measured orders, reversibility, symplecticity, energy, gradients."""

import math
import os
import subprocess
import sys
import warnings
from itertools import pairwise

import pytest
import torch
from helpers import ROOT
from scipy.integrate import solve_ivp
from torch.autograd import gradcheck
from torch.autograd.functional import jacobian

from hjepa_utils import (
    HNN,
    Hamiltonian,
    HamiltonianDynamics,
    NotSymplecticWarning,
    SeparableHNN,
    euler_step,
    implicit_midpoint_step,
    leapfrog_step,
    rk4_step,
    rollout,
    stormer_verlet_step,
    tao_step,
)

IMPLICIT = (implicit_midpoint_step, stormer_verlet_step)
STEPS = (leapfrog_step, euler_step, rk4_step, *IMPLICIT)  # those that take one copy of z


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


class CoupledPendulumInClosedForm(CoupledPendulum):
    """For long runs."""

    def gradient(self, z):
        q, p = z.chunk(2, dim=-1)
        dh_dq = torch.sin(q) - p.square() * torch.cos(q) * torch.sin(q)
        return torch.cat([dh_dq, p * (1 + torch.cos(q).square())], dim=-1)


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def points(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.manual_seed(2))


def network(kind, latent_dim=8, seed=0):
    """Weights large enough that the Hessian is far from zero."""
    torch.manual_seed(seed)
    model = kind(latent_dim, (24, 24)).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    return model


def reference(hamiltonian, z0, seconds):
    """The solution by SciPy's method of eighth order."""

    def velocity(_, z):
        dq, dp = hamiltonian.gradient(torch.from_numpy(z)).detach().chunk(2)
        return torch.cat([dp, -dq]).numpy()

    solution = solve_ivp(velocity, (0, seconds), z0.numpy(), method="DOP853", rtol=1e-13, atol=1e-14)
    return torch.from_numpy(solution.y[:, -1].copy())


@torch.no_grad()
def measured_order(step, hamiltonian, z0, counts=(40, 80, 160, 320)):
    """The slope of log error against log h at t = 1."""
    exact = reference(hamiltonian, z0, 1.0)
    errors = [(rollout(step, hamiltonian, z0, 1 / n, n)[-1] - exact).norm() for n in counts]
    x, y = -torch.tensor(counts).double().log(), torch.stack(errors).log()
    return ((x - x.mean()) * (y - y.mean())).sum().item() / (x - x.mean()).square().sum().item()


def repeated(step, hamiltonian, z, dt, n_steps):
    for _ in range(n_steps):
        z = step(hamiltonian, z, dt)
    return z


def as_state(step, z):
    """What the step takes: Tao's takes two copies side by side."""
    return torch.cat([z, z], dim=-1) if step.copies == 2 else z


def jacobian_and_form(step, hamiltonian, z, dt):
    """M of the step by autograd, through the step itself, and J (Tao's with a block for each copy)."""
    half = len(z) // 2
    eye, zero = torch.eye(half, dtype=z.dtype), torch.zeros(half, half, dtype=z.dtype)
    form = torch.cat([torch.cat([zero, eye], 1), torch.cat([-eye, zero], 1)])
    form = torch.block_diag(*[form] * step.copies)
    return jacobian(lambda z: step(hamiltonian, z, dt), as_state(step, z)), form


def defect(step, hamiltonian, z, dt):
    """max |MᵀJM - J|."""
    matrix, form = jacobian_and_form(step, hamiltonian, z, dt)
    return (matrix.T @ form @ matrix - form).abs().max().item()


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


def test_runge_kutta_on_the_oscillator_is_four_terms_of_the_exponential():
    """q + ip is multiplied by 1 + x + x²/2 + x³/6 + x⁴/24 with x = -ih, which is no rotation."""
    x = -0.3j
    factor = 1 + x + x**2 / 2 + x**3 / 6 + x**4 / 24
    assert abs(factor) ** 2 == pytest.approx(1 - 0.3**6 / 72 + 0.3**8 / 576, rel=1e-15)
    expected = (0.8 + 0.1j) * factor**20
    end = rollout(rk4_step, Oscillator(), vector(0.8, 0.1), 0.3, 20)[-1]
    torch.testing.assert_close(end, vector(expected.real, expected.imag), rtol=1e-13, atol=0)


@pytest.mark.parametrize("h", [0.3, -0.3, 1.3])
def test_the_midpoint_rule_on_the_oscillator_is_a_rotation(h):
    """Cayley's map (1 - ih/2) / (1 + ih/2), a turn of q + ip by -2 arctan(h/2)."""
    turn = -2 * math.atan(h / 2) * 20
    expected = (0.8 + 0.1j) * complex(math.cos(turn), math.sin(turn))
    end = rollout(implicit_midpoint_step, Oscillator(), vector(0.8, 0.1), h, 20)[-1]
    torch.testing.assert_close(end, vector(expected.real, expected.imag), rtol=0, atol=1e-13)


@pytest.mark.parametrize("hamiltonian", [Pendulum(), network(SeparableHNN)])
def test_stormer_verlet_on_a_separable_energy_is_the_leapfrog(hamiltonian):
    z = points(5, 8)
    for dt in (0.3, -0.3):
        mine, expected = stormer_verlet_step(hamiltonian, z, dt), leapfrog_step(hamiltonian, z, dt)
        torch.testing.assert_close(mine, expected, rtol=1e-14, atol=1e-14)


def test_the_implicit_steps_solve_their_equations_on_a_joint_energy():
    """The residuals of GNI's equations, the derivatives of p²(1 + cos²q)/2 - cos q written out."""

    def dh_dq(q, p):
        return math.sin(q) - p**2 * math.cos(q) * math.sin(q)

    def dh_dp(q, p):
        return p * (1 + math.cos(q) ** 2)

    q, p, h = 1.1, 0.7, 0.3
    q_new, p_new = implicit_midpoint_step(CoupledPendulum(), vector(q, p), h).tolist()
    middle = ((q + q_new) / 2, (p + p_new) / 2)
    assert q_new == pytest.approx(q + h * dh_dp(*middle), abs=1e-14)
    assert p_new == pytest.approx(p - h * dh_dq(*middle), abs=1e-14)

    q_new, p_new = stormer_verlet_step(CoupledPendulum(), vector(q, p), h).tolist()
    p_half = p_new + h / 2 * dh_dq(q_new, 0)
    for _ in range(100):  # the last equation gives p½, the other two are then to hold
        p_half = p_new + h / 2 * dh_dq(q_new, p_half)
    assert p_half == pytest.approx(p - h / 2 * dh_dq(q, p_half), abs=1e-14)
    assert q_new == pytest.approx(q + h / 2 * (dh_dp(q, p_half) + dh_dp(q_new, p_half)), abs=1e-14)


@pytest.mark.parametrize("binding", [1.0, 3.7])
def test_taos_step_on_the_oscillator_is_a_product_of_matrix_exponentials(binding):
    """The three flows are linear there; a state is (q, p, x, y), two copies of (q, p)."""
    h, stiffness = 0.3, 1.7**2
    first, second, bound = torch.zeros(3, 4, 4, dtype=torch.float64).unbind()
    first[1, 0], first[2, 3] = -stiffness, 1  # H(q, y): ṗ = -ω²q, ẋ = y
    second[0, 1], second[3, 2] = 1, -stiffness  # H(x, p): q̇ = p, ẏ = -ω²x
    for row, (plus, minus) in enumerate([(1, 3), (2, 0), (3, 1), (0, 2)]):  # q̇ = binding (p - y), …
        bound[row, plus], bound[row, minus] = binding, -binding
    halves = [torch.matrix_exp(h / 2 * field) for field in (first, second)]
    expected = halves[0] @ halves[1] @ torch.matrix_exp(h * bound) @ halves[1] @ halves[0]
    step = tao_step.with_options(binding=binding)
    columns = step(Oscillator(1.7), torch.eye(4, dtype=torch.float64), h)
    torch.testing.assert_close(columns.T, expected, rtol=0, atol=1e-14)


def test_taos_step_is_his_formulas_on_a_joint_energy():
    """Equations 1 to 3 of arXiv:1609.02212 with ω = 1, the derivatives written out."""

    def dh_dq(q, p):
        return math.sin(q) - p**2 * math.cos(q) * math.sin(q)

    def dh_dp(q, p):
        return p * (1 + math.cos(q) ** 2)

    q, p, x, y, h = 1.1, 0.7, 0.9, 0.8, 0.3
    start = vector(q, p, x, y)
    p, x = p - h / 2 * dh_dq(q, y), x + h / 2 * dh_dp(q, y)
    q, y = q + h / 2 * dh_dp(x, p), y - h / 2 * dh_dq(x, p)
    cos, sin, dq, dp = math.cos(2 * h), math.sin(2 * h), q - x, p - y
    (q, x), (p, y) = (
        ((total + turned) / 2, (total - turned) / 2)
        for total, turned in ((q + x, cos * dq + sin * dp), (p + y, cos * dp - sin * dq))
    )
    q, y = q + h / 2 * dh_dp(x, p), y - h / 2 * dh_dq(x, p)
    p, x = p - h / 2 * dh_dq(q, y), x + h / 2 * dh_dp(q, y)
    torch.testing.assert_close(tao_step(CoupledPendulum(), start, h), vector(q, p, x, y), rtol=1e-14, atol=0)


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


@pytest.mark.parametrize(
    ("step", "order"), [(rk4_step, 4), (implicit_midpoint_step, 2), (stormer_verlet_step, 2), (tao_step, 2)]
)
def test_the_other_steps_keep_their_order_on_a_joint_energy(step, order):
    for hamiltonian, z0 in ((CoupledPendulum(), vector(1.1, 0.7)), (network(HNN), points(8) / 2)):
        found = measured_order(step, hamiltonian, z0, counts=(16, 32, 64))
        assert found == pytest.approx(order, abs=0.08)


def test_leapfrog_is_first_order_on_a_joint_network_and_second_on_a_separable_one():
    z0 = torch.randn(8, dtype=torch.float64, generator=torch.manual_seed(2)) / 2
    assert measured_order(leapfrog_step, network(SeparableHNN), z0) == pytest.approx(2, abs=0.1)
    assert measured_order(leapfrog_step, network(HNN), z0) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("step", [*IMPLICIT, tao_step])
@pytest.mark.parametrize("hamiltonian", [CoupledPendulum(), network(HNN)])
def test_a_negative_dt_undoes_the_symmetric_steps_on_a_joint_energy(step, hamiltonian):
    z = as_state(step, points(5, 8))
    with torch.no_grad():
        there = repeated(step, hamiltonian, z, 0.2, 10)
        back = repeated(step, hamiltonian, there, -0.2, 10)
    assert (there - z).abs().max() > 0.5
    torch.testing.assert_close(back, z, rtol=0, atol=1e-12)


def test_a_negative_dt_does_not_undo_runge_kutta_or_euler():
    model, z = network(HNN), points(5, 8)
    for step, floor in ((rk4_step, 1e-6), (euler_step, 1e-2)):
        with torch.no_grad():
            there = repeated(step, model, z, 0.3, 10)
            back = repeated(step, model, there, -0.3, 10)
        assert (back - z).abs().max() > floor * (there - z).abs().max()


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


@pytest.mark.parametrize("dt", [0.3, torch.tensor(0.3)])  # a float, or float32 as it is learned
@pytest.mark.parametrize("step", [*IMPLICIT, tao_step])
def test_some_steps_are_symplectic_on_a_joint_energy(step, dt):
    for hamiltonian, z in ((network(HNN), points(8)), (CoupledPendulum(), vector(1.1, 0.7))):
        assert defect(step, hamiltonian, z, dt) < 1e-13
        matrix, _ = jacobian_and_form(step, hamiltonian, z, dt)
        assert torch.linalg.det(matrix).item() == pytest.approx(1, abs=1e-13)


@pytest.mark.parametrize(("step", "floor"), [(leapfrog_step, 1e-3), (euler_step, 1e-3), (rk4_step, 1e-6)])
def test_the_other_steps_are_not_and_do_not_keep_volume(step, floor):
    assert defect(step, network(HNN), points(8), 0.3) > floor
    matrix, _ = jacobian_and_form(step, network(HNN), points(8), 0.3)
    assert abs(torch.linalg.det(matrix).item() - 1) > floor


def test_one_copy_of_taos_two_does_not_move_symplectically():
    """Its Jacobian by z0, the copies being equal at the start: what the doubled space keeps, it does not."""
    z, model = points(8), network(HNN)
    matrix = jacobian(lambda z: rollout(tao_step, model, z, 0.3, 3)[-1], z)
    _, form = jacobian_and_form(implicit_midpoint_step, model, z, 0.3)
    assert (matrix.T @ form @ matrix - form).abs().max() > 1e-6


def test_leapfrog_keeps_the_pendulums_energy_and_euler_does_not():
    pendulum, z0, n = Pendulum(), vector(1.0, 0.0), 10_000
    with torch.no_grad():
        energy = pendulum(rollout(leapfrog_step, pendulum, z0, 0.1, n))
        grown = pendulum(rollout(euler_step, pendulum, z0, 0.1, 100))
    drift = (energy - energy[0]).abs()
    assert drift.max() < 0.1**2  # O(h²), for all times
    torch.testing.assert_close(drift[n // 2 :].max(), drift[: n // 2].max(), rtol=0.02, atol=0)
    assert grown[-1] - grown[0] > 0.2 and (grown[50] - grown[0]) > 0.1


def test_symplectic_steps_bound_the_error_of_a_joint_energy_and_leapfrog_does_not():
    joint, z0, n = CoupledPendulumInClosedForm(), vector(1.0, 0.3), 1000
    errors = {}
    with torch.no_grad():
        for step in (leapfrog_step, *IMPLICIT):
            energy = joint(rollout(step, joint, z0, 0.1, n))
            errors[step] = (energy - energy[0]).abs()
    for step in IMPLICIT:
        assert errors[step].max() < 0.2 * 0.1**2  # O(h²), for all times
        halves = errors[step][: n // 2].max(), errors[step][n // 2 :].max()
        torch.testing.assert_close(*halves, rtol=0.02, atol=0)
    tenths = [errors[leapfrog_step][k * n // 10] for k in range(1, 6)]
    assert all(later > earlier + 0.05 for earlier, later in pairwise(tenths))
    assert errors[leapfrog_step].max() > 400 * max(errors[step].max() for step in IMPLICIT)


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


@pytest.mark.parametrize("kind", [HNN, SeparableHNN])
def test_taos_rollout_doubles_z0_and_returns_the_first_copy(kind):
    model, z0 = network(kind), points(2, 3, 8)
    states = rollout(tao_step, model, z0, 0.2, 4)
    assert states.shape == (2, 3, 5, 8)
    assert torch.equal(states[..., 0, :], z0)
    doubled = torch.cat([z0, z0], dim=-1)
    for t in range(1, 5):
        doubled = tao_step(model, doubled, 0.2)
        torch.testing.assert_close(states[..., t, :], doubled[..., :8], rtol=1e-13, atol=1e-13)
    assert (doubled[..., :8] - doubled[..., 8:]).abs().max() > 1e-6  # the copies do move apart


@pytest.mark.parametrize("step", [*STEPS, tao_step])
def test_a_rollout_of_no_steps_is_the_start(step):
    z0 = torch.randn(3, 8, dtype=torch.float64)
    assert torch.equal(rollout(step, network(HNN), z0, 0.2, 0), z0[:, None])


@pytest.mark.parametrize("step", [*STEPS, tao_step])
def test_without_a_graph_the_states_are_the_same(step):
    model, z0 = network(HNN), points(2, 8)
    with torch.no_grad():
        states = rollout(step, model, z0, 0.2, 3)
    assert not states.requires_grad
    torch.testing.assert_close(states, rollout(step, model, z0, 0.2, 3).detach(), rtol=1e-14, atol=1e-14)


def test_impossible_rollouts_are_refused():
    with pytest.raises(ValueError, match="n_steps must not be negative, got -1"):
        rollout(leapfrog_step, Pendulum(), vector(1, 0), 0.1, -1)
    with pytest.raises(ValueError, match="even number of dimensions, got 3"):
        rollout(leapfrog_step, Pendulum(), vector(1, 0, 0), 0.1, 2)
    with pytest.raises(ValueError, match=r"takes z of width 8, got \(6,\)"):
        rollout(leapfrog_step, network(HNN), torch.zeros(6, dtype=torch.float64), 0.1, 2)


@pytest.mark.parametrize("step", [*STEPS, tao_step])
@pytest.mark.parametrize("hamiltonian", [Pendulum(), network(HNN, 4), network(SeparableHNN, 4)])
def test_a_step_alone_refuses_an_odd_latent(step, hamiltonian):
    with pytest.raises(ValueError):
        step(hamiltonian, torch.ones(3, dtype=torch.float64), 0.1)


@pytest.mark.parametrize(
    ("step", "what"),
    [
        (implicit_midpoint_step, "the implicit midpoint step"),
        (stormer_verlet_step, "the first kick of the Störmer–Verlet step"),
    ],
)
def test_a_dt_too_large_is_refused_with_the_residual(step, what):
    z0 = points(3, 8)
    message = rf"^{what} did not converge: .* residual is 0\.\d \(wanted: 7e-15\); take a smaller dt$"
    for begin in (lambda: step(network(HNN), z0, 50.0), lambda: rollout(step, network(HNN), z0, 50.0, 2)):
        with pytest.raises(RuntimeError, match=message):
            begin()
    assert torch.equal(z0, points(3, 8)) and not z0.requires_grad


def test_a_drift_that_does_not_converge_is_named():
    """On p(1 + 100 sin q²): at q = 0 there is no force, and q' = dt (1 + 50 sin q'²) is not contracting."""

    class Steep(Hamiltonian):
        def forward(self, z):
            q, p = z.chunk(2, dim=-1)
            return (p * (1 + 100 * torch.sin(q.square()))).sum(dim=-1)

    with pytest.raises(RuntimeError, match=r"^the drift of the Störmer–Verlet step did not converge"):
        stormer_verlet_step(Steep(), vector(0.0, 1.0), 1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("step", IMPLICIT)
def test_a_latent_that_is_no_number_is_refused(step, bad):
    z0 = points(3, 8)
    z0[1, 2] = bad
    with pytest.raises(RuntimeError, match=r"met NaN or infinity: check that z is finite"):
        rollout(step, network(HNN), z0, 0.1, 2)


def unrolled_midpoint(hamiltonian, z, dt):
    """Its equation 80 times, starting with z, for plain autograd."""
    z_new = z
    for _ in range(80):
        dh_dq, dh_dp = hamiltonian.gradient((z + z_new) / 2).chunk(2, dim=-1)
        z_new = z + dt * torch.cat([dh_dp, -dh_dq], dim=-1)
    return z_new


def unrolled_stormer_verlet(hamiltonian, z, dt):
    def slopes(q, p):
        return hamiltonian.gradient(torch.cat([q, p], dim=-1)).chunk(2, dim=-1)

    q, p = z.chunk(2, dim=-1)
    p_half, q_new = p, q
    for _ in range(80):
        p_half = p - dt / 2 * slopes(q, p_half)[0]
    for _ in range(80):
        q_new = q + dt / 2 * (slopes(q, p_half)[1] + slopes(q_new, p_half)[1])
    return torch.cat([q_new, p_half - dt / 2 * slopes(q_new, p_half)[0]], dim=-1)


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e-40])  # a tolerance relative to 1 would stop too early
@pytest.mark.parametrize(
    ("step", "unrolled"),
    [(implicit_midpoint_step, unrolled_midpoint), (stormer_verlet_step, unrolled_stormer_verlet)],
)
def test_the_implicit_function_theorem_gives_the_gradients_of_the_iteration(step, unrolled, scale):
    model, z0 = network(HNN), points(3, 8).requires_grad_()
    dt = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    weights = list(model.parameters())[:-1]  # all but the last bias, an additive constant of H

    def gradients(step):
        states = repeated(step, model, z0, dt, 2)
        loss = scale * (states * torch.linspace(-1, 1, 24, dtype=torch.float64).view(3, 8)).sum()
        return torch.autograd.grad(loss, [z0, dt, *weights])

    for mine, expected in zip(gradients(step), gradients(unrolled), strict=True):
        assert expected.norm() > 1e-3 * scale
        assert (mine - expected).norm() <= 1e-12 * expected.norm()


@pytest.mark.parametrize("step", [*STEPS, tao_step])
@pytest.mark.parametrize("hamiltonian", [CoupledPendulum(), network(HNN, 4)])
def test_gradients_pass_through_a_rollout(step, hamiltonian):
    """By z0 and dt, against finite differences."""
    z0 = points(2, 4).requires_grad_()
    dt = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda z0, dt: rollout(step, hamiltonian, z0, dt, 3), (z0, dt))


@pytest.mark.parametrize("step", [*STEPS, tao_step])
def test_the_weights_get_gradients_through_a_rollout(step):
    model, z0 = network(HNN, 4), points(2, 4)
    weight = model.layers[0].weight
    rollout(step, model, z0, 0.3, 3).square().sum().backward()
    slope, h = weight.grad[1, 2].item(), 1e-6
    sums = []
    with torch.no_grad():
        for change in (h, -2 * h):
            weight[1, 2] += change
            sums.append(rollout(step, model, z0, 0.3, 3).square().sum().item())
    assert slope == pytest.approx((sums[0] - sums[1]) / (2 * h), rel=1e-6)


@pytest.mark.parametrize("hamiltonian", [network(HNN), CoupledPendulum()])
def test_dynamics_say_of_a_joint_energy_that_leapfrog_is_not_symplectic(hamiltonian):
    with pytest.warns(NotSymplecticWarning, match="stormer_verlet_step or implicit_midpoint_step") as caught:
        HamiltonianDynamics(hamiltonian)
    (sentence,) = [str(warning.message) for warning in caught]
    assert sentence.endswith(".") and ". " not in sentence and "\n" not in sentence


def test_nothing_else_says_so():
    joint, separable, z = network(HNN), network(SeparableHNN), points(3, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotSymplecticWarning)
        HamiltonianDynamics(separable)
        leapfrog_step(joint, z, 0.2)
        for step in (euler_step, rk4_step, *IMPLICIT, tao_step):
            HamiltonianDynamics(joint, step, dt=0.1).double().rollout_with_energy(z, 2)


def test_it_is_said_once_by_a_process_and_silenced_by_name():
    """Under Python's own filters, which pytest replaces."""
    code = """
import torch, warnings
from hjepa_utils import HNN, HamiltonianDynamics, NotSymplecticWarning
for _ in range(3):
    dynamics = HamiltonianDynamics(HNN(8, (4,)))
    dynamics.rollout_with_energy(torch.zeros(1, 8), 2)
warnings.simplefilter("ignore", NotSymplecticWarning)
HamiltonianDynamics(HNN(8, (4,)))
"""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr.count("NotSymplecticWarning: leapfrog_step is symplectic") == 1


@pytest.mark.parametrize("kind", [HNN, SeparableHNN])
@pytest.mark.parametrize("step", [*STEPS, tao_step])
def test_every_state_can_have_a_dt_of_its_own(kind, step):
    torch.manual_seed(0)
    energy, z = kind(8, (6, 5)).double(), torch.randn(2, 4, 8, dtype=torch.float64)
    dt = torch.rand(2, 4, 1, dtype=torch.float64)
    one_by_one = [
        rollout(step, energy, x, h.item(), 3) for x, h in zip(z.view(8, 8), dt.view(8), strict=True)
    ]
    expected = torch.stack(one_by_one).view(2, 4, 4, 8)
    torch.testing.assert_close(rollout(step, energy, z, dt, 3), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(4,), (3,), (4, 4), (3, 1)])  # the first would give every q its own dt
def test_a_dt_of_another_shape_is_refused(shape):
    for kind in (HNN, SeparableHNN):
        with pytest.raises(ValueError, match=r"a tensor \(4, 1\) with one for each state, got \("):
            rollout(leapfrog_step, kind(8, (6, 5)), torch.zeros(4, 8), torch.ones(shape), 2)
