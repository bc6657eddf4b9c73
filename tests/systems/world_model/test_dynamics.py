"""The driven, damped step: what it reduces to, its order, its ledger, its bounds and its gradients."""

import math

import pytest
import torch
from scipy.integrate import solve_ivp
from torch import nn

from hjepa_utils import Hamiltonian, SeparableHNN, driven_rollout, leapfrog_step, rollout, seeded
from hjepa_utils.systems.world_model.coordinates import Angle, Place
from hjepa_utils.systems.world_model.dynamics import (
    BoundedResidual,
    ConstantDamping,
    ControlledDynamics,
    ScaledLinear,
    StateDamping,
)
from hjepa_utils.systems.world_model.energies import AngleEnergy, ContactEnergy

DT = 0.05


class NoDamping(nn.Module):
    def forward(self, q, p):
        return torch.zeros_like(p)


class Gravity(Hamiltonian):
    """H = p²/2 + 15 cos q, the pendulum's own."""

    separable = True

    def forward(self, z):
        q, p = z.chunk(2, dim=-1)
        return (p.square() / 2 + 15 * q.cos()).sum(dim=-1)


class Free(Hamiltonian):
    """H = |p|²/2."""

    separable = True

    def forward(self, z):
        return z.chunk(2, dim=-1)[1].square().sum(dim=-1) / 2


def random(*shape, seed=0, scale=1.0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def lively(module, seed=5):
    """Double precision, and weights that are not zero, as after a training."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.double().parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return module


def pendulum(substeps=1, damping=None, residual=None, push=3.0):
    control = ScaledLinear(1, 1).double()
    control.weight.data.fill_(push)
    return ControlledDynamics(
        Gravity(), control, damping or NoDamping(), residual, dt=DT, substeps=substeps
    ).double()


def starts(n=6):
    return torch.cat([random(n, 1, seed=1, scale=2.0), random(n, 1, seed=2, scale=3.0)], dim=-1)


def pushes(n=6, n_steps=20):
    return random(n, n_steps, 1, seed=3).clamp(-2, 2)


ENERGIES = [
    pytest.param(lambda: Gravity(), 2, id="gravity"),
    pytest.param(lambda: lively(AngleEnergy(1)), 2, id="angle"),
    pytest.param(lambda: ContactEnergy(2, wall=0.4, contact=0.9).double(), 8, id="contacts"),
]


@pytest.mark.parametrize(("energy", "width"), ENERGIES)
@pytest.mark.parametrize("substeps", [1, 3])
def test_without_damping_and_residual_it_is_the_driven_symplectic_step(energy, width, substeps):
    energy = energy()
    control = lively(ScaledLinear(1, width // 2, scale=6.0))
    dynamics = ControlledDynamics(energy, control, NoDamping(), dt=DT, substeps=substeps)
    z0, actions = random(4, width, seed=1), random(4, 10, 1, seed=2)
    ours = dynamics.rollout(z0, actions)
    held = control(actions).repeat_interleave(substeps, dim=1)
    reference = driven_rollout(leapfrog_step, energy, z0, DT / substeps, held)[:, ::substeps]
    torch.testing.assert_close(ours, reference, rtol=1e-12, atol=1e-12)
    without = dynamics.rollout(z0, torch.zeros_like(actions))
    symplectic = rollout(leapfrog_step, energy, z0, DT / substeps, 10 * substeps)[:, ::substeps]
    torch.testing.assert_close(without, symplectic, rtol=1e-12, atol=1e-12)
    assert (ours - without).abs().max() > 1e-3  # the action was felt


def test_free_flight_under_friction_and_a_held_push_meets_the_closed_form():
    """v̇ = u - γ v: v(t) = u/γ + (v₀ - u/γ) e^{-γ t}; the splitting's error falls with h²."""
    rate, v0, u, time = 0.7, 1.3, 0.4, 2.0
    damping = ConstantDamping(rate).double()
    torch.testing.assert_close(damping.rate.item(), rate, rtol=1e-6, atol=0)
    rate = damping.rate.item()
    control = ScaledLinear(1, 1).double()
    control.weight.data.fill_(1.0)
    v = u / rate + (v0 - u / rate) * math.exp(-rate * time)
    x = u / rate * time + (v0 - u / rate) * (1 - math.exp(-rate * time)) / rate
    ends = []
    for substeps in (1, 2, 4):
        dynamics = ControlledDynamics(Free(), control, damping, dt=0.1, substeps=substeps)
        z0 = torch.tensor([[0.0, v0]], dtype=torch.float64)
        ends.append(dynamics.rollout(z0, torch.full((1, 20, 1), u, dtype=torch.float64))[0, -1])
    exact = torch.tensor([x, v], dtype=torch.float64)
    coarse, middle, fine = ((end - exact).abs().max().item() for end in ends)
    assert coarse / middle == pytest.approx(4, rel=0.05)
    assert middle / fine == pytest.approx(4, rel=0.05)
    extrapolated = (4 * ends[2] - ends[1]) / 3  # the even powers of h above the second are what is left
    torch.testing.assert_close(extrapolated, exact, rtol=0, atol=1e-7)


def test_friction_alone_is_exact():
    """Without force, p falls by e^{-γ t} to rounding, whatever the step."""
    damping = ConstantDamping(0.9).double()
    dynamics = ControlledDynamics(Free(), ScaledLinear(1, 1).double(), damping, dt=0.5, substeps=1)
    z0 = torch.tensor([[0.3, -2.0]], dtype=torch.float64)
    p = dynamics.rollout(z0, torch.zeros(1, 8, 1, dtype=torch.float64))[0, :, 1]
    times = 0.5 * torch.arange(9, dtype=torch.float64)
    torch.testing.assert_close(p, -2.0 * torch.exp(-damping.rate.detach() * times), rtol=1e-13, atol=0)


def test_meets_an_independent_integrator():
    """Driven, damped pendulum against DOP853, the action held over every frame."""
    rate = 0.4
    dynamics = pendulum(substeps=200, damping=ConstantDamping(rate).double())
    rate = dynamics.damping.rate.item()
    z0, actions = starts(3), pushes(3, 20)
    ours = dynamics.rollout(z0, actions)[:, -1].detach()
    for mine, start, torques in zip(ours, z0, actions[..., 0], strict=True):
        state = start.numpy()
        for u in torques.tolist():

            def field(t, z, u=u):
                return [z[1], 15 * math.sin(z[0]) + 3 * u - rate * z[1]]

            state = solve_ivp(field, (0, DT), state, method="DOP853", rtol=1e-11, atol=1e-11).y[:, -1]
        torch.testing.assert_close(mine, torch.from_numpy(state), rtol=0, atol=2e-4)


def everything(substeps):
    """The same weights whatever the sub-steps."""
    with seeded(0):
        damping = lively(StateDamping(Angle, 1, start=-0.2))
        return pendulum(substeps, damping, lively(BoundedResidual(Angle, 1, bound=2.0)))


def test_the_ledger_closes_to_the_integrators_error():
    """H(t) - H(0) = work - dissipated + residual; what is left falls with h²."""
    z0, actions = starts(), pushes()
    left = []
    for substeps in (8, 16, 32):
        ledger = everything(substeps).ledger(z0, actions)
        for entry in (ledger.work, ledger.dissipated, ledger.residual):
            assert entry.shape == (6, 21)
            assert (entry[:, 0] == 0).all()
            assert entry.abs().max() > 0.1  # each of them matters here
        left.append(ledger.defect.abs().max().item())
    assert left[0] / left[1] == pytest.approx(4, rel=0.2)
    assert left[1] / left[2] == pytest.approx(4, rel=0.2)
    assert left[2] < 5e-3


def test_the_ledgers_energy_is_that_of_the_rollout():
    dynamics, z0, actions = everything(2), starts(), pushes()
    ledger = dynamics.ledger(z0, actions)
    torch.testing.assert_close(ledger.energy, dynamics.hamiltonian(dynamics.rollout(z0, actions)))


def test_the_ledger_meets_integrals_along_the_path():
    """Work ∫ q̇ G u dt and loss ∫ γ q̇² dt by the trapezoidal rule over fine states."""
    fine, n = 64, 8
    damping = ConstantDamping(0.5).double()
    dynamics = pendulum(fine, damping)
    z0, actions = starts(), pushes(n_steps=n)
    ledger = dynamics.ledger(z0, actions)
    every = ControlledDynamics(Gravity(), dynamics.control, damping, dt=DT / fine, substeps=1)
    held = actions.repeat_interleave(fine, dim=1)
    v = every.rollout(z0, held)[..., 1]
    mean, mean_square = (v[:, 1:] + v[:, :-1]) / 2, (v[:, 1:] ** 2 + v[:, :-1] ** 2) / 2
    work = (mean * 3 * held[..., 0]).sum(dim=1) * DT / fine
    lost = (damping.rate * mean_square).sum(dim=1) * DT / fine
    torch.testing.assert_close(ledger.work[:, -1], work, rtol=0, atol=1e-4)
    torch.testing.assert_close(ledger.dissipated[:, -1], lost, rtol=0, atol=1e-4)


def test_without_work_friction_only_takes_energy():
    ledger = pendulum(2, lively(StateDamping(Angle, 1, start=-0.2))).ledger(starts(), 0 * pushes())
    assert (ledger.dissipated.diff(dim=-1) > 0).all()
    assert (ledger.work == 0).all()
    assert (ledger.residual == 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_damping_is_never_negative(seed):
    """R = diag(0, γ) is positive semidefinite for any weights."""
    q, p = random(200, 2, seed=seed, scale=10), random(200, 2, seed=seed + 9, scale=50)
    for damping in (StateDamping(Angle, 2), StateDamping(Place, 2), ConstantDamping()):
        assert (lively(damping, seed)(q, p) >= 0).all()
        torch.testing.assert_close(damping(q, p), damping(q, -p))  # friction does not know the way


def test_the_residual_stays_within_its_bound_and_starts_at_zero():
    q, p = random(500, 3, scale=5), random(500, 3, seed=1, scale=50)
    residual = BoundedResidual(Angle, 3, bound=0.7)
    assert (residual.double()(q, p) == 0).all()
    for parameter in residual.parameters():
        parameter.data = 50 * random(*parameter.shape, seed=4)
    sizes = residual(q, p).norm(dim=-1)
    assert sizes.max() <= 0.7
    assert sizes.max() > 0.69  # the bound is met


def test_the_residuals_share_is_its_size_beside_the_force():
    z = torch.cat([random(50, 1), random(50, 1, seed=1)], dim=-1)
    assert pendulum().residual_share(z) == 0
    residual = BoundedResidual(Angle, 1, bound=2.0).double()
    residual.network[2].bias.data.fill_(1.0)  # |r| = 2/√2 everywhere
    share = pendulum(residual=residual).residual_share(z)
    expected = math.sqrt(2) / (15 * z[:, 0].sin()).abs().mean()
    torch.testing.assert_close(share, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("energy", "width"),
    [*ENERGIES[1:], pytest.param(lambda: ContactEnergy(3, wall=0.3, contact=1.0).double(), 12, id="three")],
)
def test_gradients_in_closed_form_are_autograds(energy, width):
    energy, z = energy(), random(40, width, seed=7)
    by_hand = energy.gradient(z)
    torch.testing.assert_close(by_hand, Hamiltonian.gradient(energy, z), rtol=1e-6, atol=1e-6)
    half = width // 2
    assert torch.equal(energy.gradient_q(z), by_hand[..., :half])
    assert torch.equal(energy.gradient_p(z), by_hand[..., half:])
    assert by_hand[..., :half].abs().max() > 0.1


def test_rollouts_differentiate_as_finite_differences_do():
    dynamics, actions = everything(2), pushes(2, 4)
    z0 = starts(2)

    def end(z0, actions):
        return dynamics.rollout(z0, actions)[:, -1]

    inputs = (z0.requires_grad_(), actions.requires_grad_())
    assert torch.autograd.gradcheck(end, inputs, eps=1e-6, atol=1e-5)


def test_bodies_far_from_everything_fly_freely():
    z = torch.tensor([[-0.3, 0.1, 0.4, -0.2, 1.0, 2.0, 3.0, 4.0]])
    energy = ContactEnergy(2, wall=0.8, contact=0.3)
    assert energy(z).item() == pytest.approx(15.0)
    assert (energy.gradient_q(z) == 0).all()


def test_a_contact_energy_is_two_springs():
    """By hand: a body 0.1 beyond a wall, and two bodies 0.05 too near."""
    energy = ContactEnergy(2, wall=0.8, contact=0.3, stiffness=1000.0)
    z = torch.tensor([[0.9, 0.0, 0.65, 0.0, 0.0, 0.0, 0.0, 0.0]])
    assert energy(z).item() == pytest.approx(500 * 0.01 + 500 * 0.0025, rel=1e-4)


def test_gravity_on_the_circle_is_within_what_the_angles_energy_can_say():
    """It sees the angle by (cos, sin) alone, so a turn changes nothing."""
    energy = lively(AngleEnergy(2))
    z = random(9, 4)
    turned = z + 2 * math.pi * torch.tensor([1.0, -2.0, 0.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(energy(turned), energy(z))


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"dt": 0.0}, "dt must be above 0"), ({"dt": 0.1, "substeps": 0}, "substeps 1 or more")],
)
def test_times_that_are_none_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        ControlledDynamics(Gravity(), ScaledLinear(1, 1), NoDamping(), **settings)


def test_a_joint_energy_is_refused():
    joint = SeparableHNN(2, (4,))
    joint.separable = False
    with pytest.raises(ValueError, match="declares `separable`"):
        ControlledDynamics(joint, ScaledLinear(1, 1), NoDamping(), dt=0.1)


def test_a_residual_without_room_is_refused():
    with pytest.raises(ValueError, match="bound must be above 0, got 0"):
        BoundedResidual(Angle, 1, bound=0)
