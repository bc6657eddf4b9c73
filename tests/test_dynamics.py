"""The predictors: a learnable dt, saved and loaded whole, and the floors."""

import pytest
import torch

from hjepa_utils import (
    HNN,
    BaselineMLP,
    HamiltonianDynamics,
    Persistence,
    SeparableHNN,
    TrainingMean,
    euler_step,
    leapfrog_step,
    rollout,
)
from hjepa_utils.compiled import compile_rollouts


def steep(network):
    """The published initialisation gives a field of almost zero; this one moves."""
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network


@pytest.fixture
def z0():
    return torch.randn(3, 8, generator=torch.manual_seed(1))


@pytest.fixture
def hamiltonian():
    torch.manual_seed(0)
    return steep(HNN(8, (16, 12)))


def test_a_rollout_is_the_steps_rollout(hamiltonian, z0):
    for step in (leapfrog_step, euler_step):
        dynamics = HamiltonianDynamics(hamiltonian, step, dt=0.4)
        assert torch.equal(dynamics.rollout(z0, 5), rollout(step, hamiltonian, z0, torch.tensor(0.4), 5))
    assert torch.equal(dynamics.energy(z0), hamiltonian(z0))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_copy_under_another_step_has_the_same_energy_and_dt(hamiltonian, z0, compiled):
    dynamics = HamiltonianDynamics(hamiltonian, dt=0.4)
    if compiled:
        compile_rollouts(dynamics)
    other = dynamics.under(euler_step)
    expected = rollout(euler_step, hamiltonian, z0, torch.tensor(0.4), 5)
    torch.testing.assert_close(other.rollout(z0, 5), expected)
    torch.testing.assert_close(other.energy(z0), hamiltonian(z0))
    assert other.clamped_dt == dynamics.clamped_dt
    assert dynamics.step is leapfrog_step


def test_dt_starts_at_one_and_learns(hamiltonian, z0):
    dynamics = HamiltonianDynamics(hamiltonian)
    assert dynamics.dt.item() == 1.0 and dynamics.step is leapfrog_step
    assert "dt" in dict(dynamics.named_parameters())
    dynamics.rollout(z0, 2).square().sum().backward()
    assert dynamics.dt.grad.abs() > 0


@pytest.mark.parametrize(("dt", "clamped", "slope"), [(0.05, 0.1, 0), (0.7, 0.7, 1), (5.0, 2.0, 0)])
def test_dt_is_clamped_and_has_no_gradient_outside(hamiltonian, dt, clamped, slope):
    dynamics = HamiltonianDynamics(hamiltonian)
    with torch.no_grad():
        dynamics.dt.fill_(dt)
    assert dynamics.clamped_dt.item() == pytest.approx(clamped)
    dynamics.clamped_dt.backward()
    assert dynamics.dt.grad.item() == slope


@pytest.mark.parametrize("dt", [0.0, -1.0, 2.5, float("nan")])
def test_a_dt_outside_its_range_is_refused(hamiltonian, dt):
    with pytest.raises(ValueError, match=r"dt must lie in \(0\.1, 2\.0\), got"):
        HamiltonianDynamics(hamiltonian, dt=dt)


@pytest.mark.parametrize("learnt_dt", [0.7123, 0.02, 7.0])
@pytest.mark.parametrize("step", [leapfrog_step, euler_step])
def test_saved_dynamics_roll_out_the_same_bits(tmp_path, hamiltonian, z0, step, learnt_dt):
    dynamics = HamiltonianDynamics(hamiltonian, step)
    with torch.no_grad():
        dynamics.dt.fill_(learnt_dt)  # an optimiser may leave it outside the range that counts
    dynamics.save_pretrained(tmp_path)
    loaded = HamiltonianDynamics.from_pretrained(tmp_path)
    assert torch.equal(loaded.rollout(z0, 6), dynamics.rollout(z0, 6))
    assert torch.equal(HNN.from_pretrained(tmp_path)(z0), hamiltonian(z0))


def test_saved_separable_dynamics_roll_out_the_same_bits(tmp_path, z0):
    torch.manual_seed(0)
    dynamics = HamiltonianDynamics(steep(SeparableHNN(8, (16, 12))))
    dynamics.save_pretrained(tmp_path)
    assert torch.equal(HamiltonianDynamics.from_pretrained(tmp_path).rollout(z0, 6), dynamics.rollout(z0, 6))


def test_dynamics_that_are_not_there_are_missed(tmp_path):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        HamiltonianDynamics.from_pretrained(tmp_path)


@pytest.mark.parametrize("residual", [False, True])
def test_a_saved_baseline_rolls_out_the_same_bits(tmp_path, z0, residual):
    torch.manual_seed(0)
    baseline = BaselineMLP(8, (16, 12), residual=residual)
    baseline.save_pretrained(tmp_path)
    loaded = BaselineMLP.from_pretrained(tmp_path)
    assert loaded.residual is residual
    assert torch.equal(loaded.rollout(z0, 6), baseline.rollout(z0, 6))


def test_the_baseline_is_a_relu_mlp_applied_again_and_again(z0):
    torch.manual_seed(0)
    baseline = BaselineMLP(8, (16, 12))
    state, expected = dict(baseline.named_parameters()), [z0]
    weights = list(state.values())
    for _ in range(3):
        h = (expected[-1] @ weights[0].T + weights[1]).clamp(min=0)
        h = (h @ weights[2].T + weights[3]).clamp(min=0)
        expected.append(h @ weights[4].T + weights[5])
    torch.testing.assert_close(baseline.rollout(z0, 3), torch.stack(expected, dim=1), rtol=1e-5, atol=1e-6)


def test_a_residual_baseline_predicts_the_change(z0):
    torch.manual_seed(0)
    plain, residual = BaselineMLP(8, (16,)), BaselineMLP(8, (16,), residual=True)
    residual.load_state_dict(plain.state_dict())
    assert torch.equal(residual(z0), z0 + plain(z0))


def test_the_baseline_has_the_papers_number_of_parameters():
    assert sum(p.numel() for p in BaselineMLP().parameters()) == 1_312_768
    assert sum(p.numel() for p in BaselineMLP(residual=True).parameters()) == 1_312_768


def test_the_floors_stay_where_they_are(z0):
    persistent = Persistence().rollout(z0, 4)
    assert torch.equal(persistent, z0[:, None].expand(3, 5, 8))
    mean = torch.arange(8.0)
    constant = TrainingMean(mean).rollout(z0, 4)
    assert torch.equal(constant[:, 0], z0)
    assert torch.equal(constant[:, 1:], mean.expand(3, 4, 8))


def test_bad_rollouts_are_refused_by_every_predictor(hamiltonian, z0):
    predictors = [HamiltonianDynamics(hamiltonian), BaselineMLP(8, (16,)), Persistence()]
    for predictor in [*predictors, TrainingMean(torch.zeros(8))]:
        with pytest.raises(ValueError, match="n_steps must not be negative, got -2"):
            predictor.rollout(z0, -2)
    for predictor in predictors[:2]:
        with pytest.raises(ValueError, match=r"takes z of width 8, got \(3, 6\)"):
            predictor.rollout(z0[:, :6], 2)
