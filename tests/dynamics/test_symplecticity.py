"""The measures of a step, on maps whose defect, volume, order and way back are known."""

import math

import pytest
import torch
from torch.autograd.functional import jacobian

from hjepa_utils import (
    HNN,
    Hamiltonian,
    SeparableHNN,
    convergence_order,
    euler_step,
    forward_back_error,
    implicit_midpoint_step,
    isotropy_defect,
    leapfrog_step,
    nearly_exact_end,
    rk4_step,
    rollout,
    step_jacobian,
    step_properties,
    stormer_verlet_step,
    symplectic_defect,
    tao_step,
)
from hjepa_utils.dynamics.step import declared
from hjepa_utils.dynamics.symplecticity import symplectic_form

IMPLICIT = (implicit_midpoint_step, stormer_verlet_step)
SYMPLECTIC = (*IMPLICIT, tao_step)  # for any energy
STEPS = (leapfrog_step, euler_step, rk4_step, *SYMPLECTIC)


class Oscillator(Hamiltonian):
    """H = (p² + q²)/2."""

    def forward(self, z):
        return z.square().sum(dim=-1) / 2

    def gradient(self, z):
        return z


class Pendulum(Hamiltonian):
    """H = p²/2 - cos q."""

    separable = True

    def forward(self, z):
        q, p = z.chunk(2, dim=-1)
        return (p.square() / 2 - torch.cos(q)).sum(dim=-1)

    def gradient(self, z):
        q, p = z.chunk(2, dim=-1)
        return torch.cat([torch.sin(q), p], dim=-1)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return steep(HNN(8, (24, 24)).double())


def steep(model):
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    return model


def points(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.manual_seed(2))


def state(step, copies_apart=0.1):
    """A point, for Tao's step with another beside it."""
    z = points(8)
    return torch.cat([z, z + copies_apart * z.flip(0)]) if step.copies == 2 else z


@pytest.mark.parametrize("dt", [0.3, -0.4])
@pytest.mark.parametrize("step", STEPS)
def test_the_jacobian_is_what_autograd_gives_through_the_step(network, step, dt):
    z = state(step)
    expected = jacobian(lambda z: step(network, z, dt), z)
    found = step_jacobian(step, network, z, dt)
    assert found.shape == (len(z), len(z))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("step", IMPLICIT)
def test_the_jacobian_of_an_implicit_step_is_that_of_finite_differences(network, step):
    z, shifts = state(step), 1e-5 * torch.eye(8, dtype=torch.float64)
    with torch.no_grad():
        expected = (step(network, z + shifts, 0.3) - step(network, z - shifts, 0.3)).T / 2e-5
    torch.testing.assert_close(step_jacobian(step, network, z, 0.3), expected, rtol=0, atol=1e-9)


def shrunk_jacobian(hamiltonian, z, dt, *, rate=1.0):
    return math.exp(-rate * dt) * torch.eye(len(z), dtype=z.dtype)


@declared(order=1, jacobian=shrunk_jacobian)
def shrinking_step(hamiltonian, z, dt, *, rate=1.0):
    return math.exp(-rate * dt) * z


def test_a_steps_own_jacobian_has_the_options_of_the_step():
    z = points(4)
    for step in (shrinking_step, shrinking_step.with_options(rate=3.0)):
        expected = jacobian(lambda z, step=step: step(Oscillator(), z, 0.2), z)
        torch.testing.assert_close(step_jacobian(step, Oscillator(), z, 0.2), expected, rtol=1e-15, atol=0)
    assert step_jacobian(step, Oscillator(), z, 0.2)[0, 0] == math.exp(-3.0 * 0.2)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (tao_step, "tao_step does not take these options: .*'speed'"),
        (implicit_midpoint_step, "implicit_midpoint_step does not take these options: .*'speed'"),
        (
            declared(jacobian=shrunk_jacobian)(lambda h, z, dt, speed=1.0: z),
            "the Jacobian of <lambda> does not take these options: .*'speed'",
        ),
    ],
)
def test_options_that_a_step_or_its_jacobian_does_not_take_are_refused(step, words):
    with pytest.raises(ValueError, match=f"^{words}$"):
        step.with_options(speed=2.0)


def test_the_form_is_blocks_of_0_1_minus_1_0():
    assert symplectic_form(2).tolist() == [[0, 1], [-1, 0]]
    assert symplectic_form(4).tolist() == [[0, 0, 1, 0], [0, 0, 0, 1], [-1, 0, 0, 0], [0, -1, 0, 0]]
    expected = [[0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1], [0, 0, -1, 0]]
    assert symplectic_form(2, copies=2).tolist() == expected


def test_matrices_with_a_known_defect():
    """For 2 · 1, MᵀJM - J = 3J; all singular values of J are 1, and ‖J‖² = D."""
    assert symplectic_defect(torch.diag(torch.tensor([2.0, 0.5]))) == (0, 0, 0)
    assert symplectic_defect(2 * torch.eye(6)) == pytest.approx((3, 3, 6 * math.log(2)), rel=1e-14)
    stretched = torch.diag(torch.tensor([2.0, 1, 1, 1]))  # dq₁ ∧ dp₁ doubles, dq₂ ∧ dp₂ stays
    assert symplectic_defect(stretched) == pytest.approx((1, math.sqrt(2 / 4), math.log(2)), rel=1e-14)
    keeps_volume = torch.diag(torch.tensor([2.0, 0.5, 1, 1]))  # as the determinant alone cannot tell
    found = symplectic_defect(keeps_volume)
    assert found == pytest.approx((1, math.sqrt((1 + 1 + 0.25 + 0.25) / 4), 0), rel=1e-14)
    assert (found.spectral, found.relative, found.log_volume) == found


def test_a_map_of_two_copies_has_a_form_for_each():
    """In one block, (q, p, x, y) would pair q with x."""
    pairs = torch.diag(torch.tensor([2.0, 0.5, 4.0, 0.25]))
    assert symplectic_defect(pairs, copies=2) == (0, 0, 0)
    assert symplectic_defect(pairs).spectral == pytest.approx(7)


def test_a_reflection_has_no_logarithm_of_a_sign():
    assert symplectic_defect(torch.diag(torch.tensor([-1.0, 1.0]))) == pytest.approx((2, 2, 0))


@pytest.mark.parametrize("latent_dim", [2, 8])
def test_euler_on_the_oscillator_expands_by_a_known_factor(latent_dim):
    """M = 1 + hJ: MᵀJM = (1 + h²) J, det M = (1 + h²)^{D/2}."""
    matrix = step_jacobian(euler_step, Oscillator(), points(latent_dim), 0.3)
    expected = (0.09, 0.09, latent_dim / 2 * math.log(1.09))
    assert symplectic_defect(matrix) == pytest.approx(expected, rel=1e-13)


def test_runge_kutta_on_the_oscillator_shrinks_by_a_known_factor():
    """det M = |1 + x + x²/2 + x³/6 + x⁴/24|² for each pair, x = ih."""
    factor = 1 - 0.3**6 / 72 + 0.3**8 / 576
    found = symplectic_defect(step_jacobian(rk4_step, Oscillator(), points(4), 0.3))
    assert found == pytest.approx((1 - factor, 1 - factor, 2 * math.log(factor)), rel=1e-9)


@pytest.mark.parametrize("dt", [0.1, 0.4])
@pytest.mark.parametrize("step", SYMPLECTIC)
def test_the_defect_of_a_symplectic_step_is_rounding(network, step, dt):
    copies = step.copies
    found = symplectic_defect(step_jacobian(step, network, state(step), dt), copies=copies)
    assert max(map(abs, found)) < 1e-13


@pytest.mark.parametrize(("step", "floor"), [(leapfrog_step, 1e-2), (euler_step, 1e-2), (rk4_step, 1e-6)])
def test_the_defect_of_the_others_is_not(network, step, floor):
    found = symplectic_defect(step_jacobian(step, network, state(step), 0.3))
    assert found.spectral > floor and found.relative > floor and abs(found.log_volume) > floor / 10


def test_leapfrog_is_symplectic_on_a_separable_network():
    torch.manual_seed(0)
    separable = steep(SeparableHNN(8, (24, 24)).double())
    matrix = step_jacobian(leapfrog_step, separable, points(8), 0.3)
    assert max(map(abs, symplectic_defect(matrix))) < 1e-13
    torch.testing.assert_close(step_jacobian(stormer_verlet_step, separable, points(8), 0.3), matrix)


@pytest.mark.parametrize("n", [1, 5])
def test_the_way_back_of_euler_on_the_oscillator(n):
    """q + ip goes by (1 - ih)ⁿ and comes back by (1 + ih)ⁿ."""
    expected = ((1 + 0.3**2) ** n - 1) / abs((1 - 0.3j) ** n - 1)
    found = forward_back_error(euler_step, Oscillator(), points(4, 6), 0.3, n)
    assert found == pytest.approx(expected, rel=1e-12)


def test_the_way_back_is_averaged_over_latents(network):
    z, ratios = points(3, 8), []
    for row in z:
        there = rollout(leapfrog_step, network, row, 0.2, 4)[-1]
        back = rollout(leapfrog_step, network, there, -0.2, 4)[-1]
        ratios.append(((back - row).norm() / (there - row).norm()).item())
    assert max(ratios) > 1.2 * min(ratios)
    found = forward_back_error(leapfrog_step, network, z, 0.2, 4)
    assert found == pytest.approx(sum(ratios) / 3, rel=1e-11)


@pytest.mark.parametrize("step", SYMPLECTIC)
def test_the_symmetric_steps_find_their_way_back(network, step):
    assert forward_back_error(step, network, points(5, 8), 0.3, 10) < 1e-13


@pytest.mark.parametrize(("step", "floor"), [(leapfrog_step, 1e-2), (euler_step, 1e-2), (rk4_step, 1e-6)])
def test_the_others_do_not_on_a_joint_network(network, step, floor):
    assert forward_back_error(step, network, points(5, 8), 0.3, 10) > floor


@pytest.mark.parametrize(("step", "order"), [*zip(STEPS, (2, 1, 4, 2, 2, 2), strict=True)])
def test_the_order_on_the_pendulum(step, order):
    found = convergence_order(step, Pendulum(), torch.tensor([1.1, 0.7]).double(), 1.0)
    assert found == pytest.approx(order, abs=0.03)


@pytest.mark.parametrize(("step", "order"), [*zip(STEPS, (1, 1, 4, 2, 2, 2), strict=True)])
def test_the_order_on_joint_networks_of_many_latents(network, step, order):
    found = convergence_order(step, network, points(5, 8) / 2, 1.0, counts=(8, 16, 32))
    assert found == pytest.approx(order, abs=0.1)


def test_the_order_is_the_slope_of_the_errors_against_a_closed_form():
    """Euler's on the oscillator: |(1 - ih)ⁿ - exp(-it)| with h = t/n."""
    counts, exact = (5, 10, 20), complex(math.cos(2), -math.sin(2))
    logs = [math.log(abs((1 - 2j / n) ** n - exact)) for n in counts]
    expected = (logs[0] - logs[2]) / math.log(4)  # of three equally spaced, the middle one has no say
    found = convergence_order(euler_step, Oscillator(), torch.tensor([0.8, 0.1]).double(), 2.0, counts)
    assert found == pytest.approx(expected, rel=1e-5)


def test_the_nearly_exact_end_is_the_closed_forms():
    """The oscillator turns (q, p) by the time."""
    q, p = 0.8, 0.1
    turned = [q * math.cos(2) + p * math.sin(2), p * math.cos(2) - q * math.sin(2)]
    found = nearly_exact_end(Oscillator(), torch.tensor([q, p], dtype=torch.float64), 2.0)
    assert found.tolist() == pytest.approx(turned, abs=1e-12)


def test_steps_that_share_the_exact_end_have_the_same_properties(network):
    z = points(2, 8)
    exact = nearly_exact_end(network, z, 2 * 0.3)
    assert step_properties(euler_step, network, z, 0.3, exact=exact) == step_properties(
        euler_step, network, z, 0.3
    )
    elsewhere = step_properties(euler_step, network, z, 0.3, exact=exact + 1)
    assert elsewhere["order"] == pytest.approx(0, abs=0.2)  # no error shrinks


def test_the_isotropy_defect_is_0_on_a_lagrangian_subspace_and_1_for_equal_conjugates():
    """p = S q with a symmetric S is Lagrangian; white latents vary as much along every conjugate."""
    q, s = torch.randn(500, 3, dtype=torch.float64, generator=torch.manual_seed(0)), points(3, 3)
    assert isotropy_defect(torch.cat([q, q @ (s + s.T)], dim=1).reshape(10, 50, 6)) == pytest.approx(
        0, abs=1e-12
    )
    white = torch.cat([q, torch.randn(500, 3, dtype=torch.float64)], dim=1)
    white = torch.linalg.qr(white - white.mean(dim=0)).Q
    assert isotropy_defect(white) == pytest.approx(1)


def test_the_isotropy_defect_of_a_plane_is_the_square_of_the_form_on_it():
    """C = a aᵀ + b bᵀ gives tr(C J C Jᵀ) / tr(C²) = (aᵀJb)²."""
    a, b = torch.linalg.qr(points(8, 2)).Q.T
    x, y = torch.tensor([1.0, -1, 0, 0]).double(), torch.tensor([0.0, 0, 1, -1]).double()
    plane = x[:, None] * a + y[:, None] * b + points(8)  # about a mean that is not 0
    assert isotropy_defect(plane) == pytest.approx((a @ symplectic_form(8) @ b).item() ** 2)
    with pytest.raises(ValueError, match="even"):
        isotropy_defect(plane[:, :7])
