"""The predictors: a learnable dt, saved and loaded whole, and the floors."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from hjepa_utils import (
    HNN,
    BaselineMLP,
    DrivenDynamics,
    Hamiltonian,
    HamiltonianDynamics,
    Persistence,
    SeparableHNN,
    TrainingMean,
    driven_rollout,
    euler_step,
    implicit_midpoint_step,
    leapfrog_step,
    rk4_step,
    rollout,
    stormer_verlet_step,
    tao_step,
)
from hjepa_utils.dynamics.hamiltonian import FeatureHamiltonian
from hjepa_utils.dynamics.predictors import RotatedDynamics, SubstepDynamics


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


COMBINATIONS = [  # a network and a step; only the first two share the products of the rollout
    (HNN, leapfrog_step),
    (HNN, euler_step),
    (HNN, rk4_step),
    (HNN, implicit_midpoint_step),
    (SeparableHNN, leapfrog_step),
]


def points(*shape, seed=2):
    return torch.randn(shape, dtype=torch.float64, generator=torch.manual_seed(seed))


def in_float64(dynamics, dt):
    """With dt in float64 too, where dt / substeps is the same number as without the class."""
    dynamics.double().dt.data.fill_(dt)
    return dynamics


def orthogonal_matrix(seed):
    return torch.linalg.qr(points(8, 8, seed=seed)).Q


def test_a_rollout_is_the_steps_rollout(hamiltonian, z0):
    for step in (leapfrog_step, euler_step):
        dynamics = HamiltonianDynamics(hamiltonian, step, dt=0.4)
        assert torch.equal(dynamics.rollout(z0, 5), rollout(step, hamiltonian, z0, torch.tensor(0.4), 5))
    assert torch.equal(dynamics.energy(z0), hamiltonian(z0))


def test_a_copy_under_another_step_has_the_same_energy_and_dt(hamiltonian, z0):
    dynamics = HamiltonianDynamics(hamiltonian, dt=0.4)
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


def test_bad_rollouts_are_refused_by_every_predictor(hamiltonian, z0):
    predictors = [HamiltonianDynamics(hamiltonian), BaselineMLP(8, (16,)), Persistence()]
    for predictor in [*predictors, TrainingMean(torch.zeros(8))]:
        with pytest.raises(ValueError, match="n_steps must not be negative, got -2"):
            predictor.rollout(z0, -2)
    for predictor in predictors[:2]:
        with pytest.raises(ValueError, match=r"takes z of width 8, got \(3, 6\)"):
            predictor.rollout(z0[:, :6], 2)


def steep64(model):
    """In float64, with weights that move."""
    torch.manual_seed(0)
    model = model.double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


@pytest.mark.parametrize(("kind", "step"), COMBINATIONS)
def test_rotated_dynamics_start_as_the_papers(kind, step):
    hamiltonian, z0 = steep64(kind(8, (16, 12))), points(3, 8)
    plain = in_float64(HamiltonianDynamics(hamiltonian, step), 0.3)
    rotated = in_float64(RotatedDynamics(hamiltonian, 8, step), 0.3)
    assert torch.equal(rotated.rotation.weight, torch.eye(8, dtype=torch.float64))
    torch.testing.assert_close(rotated.rollout(z0, 5), plain.rollout(z0, 5), rtol=1e-14, atol=1e-14)
    both = rotated.rollout_with_energy(z0, 5), plain.rollout_with_energy(z0, 5)
    for mine, expected in zip(*both, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(("kind", "step"), COMBINATIONS)
def test_rotated_dynamics_are_a_rollout_in_other_coordinates(kind, step):
    hamiltonian, z0, matrix = steep64(kind(8, (16, 12))), points(3, 8), orthogonal_matrix(seed=5)
    rotated = in_float64(RotatedDynamics(hamiltonian, 8, step), 0.3)
    rotated.rotation.weight = matrix
    inside = rollout(step, hamiltonian, z0 @ matrix, 0.3, 5)
    expected, energies = inside @ matrix.T, hamiltonian(inside)
    assert (expected - rollout(step, hamiltonian, z0, 0.3, 5)).abs().max() > 0.1
    torch.testing.assert_close(rotated.rollout(z0, 5), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(rotated.energy(expected), energies, rtol=1e-12, atol=1e-12)
    states, along = rotated.rollout_with_energy(z0, 5)
    torch.testing.assert_close(states, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(along, energies, rtol=1e-12, atol=1e-12)


def test_the_rotation_learns_and_stays_one():
    torch.manual_seed(0)
    rotated = RotatedDynamics(HNN(8, (16, 12)), 8)
    for parameter in rotated.hamiltonian.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    z0, target = points(16, 8).float(), points(16, 8, seed=3).float()
    optimiser, losses = torch.optim.AdamW(rotated.parameters(), lr=1e-2), []
    for _ in range(50):
        states, energies = rotated.rollout_with_energy(z0, 4)
        loss = (states[:, -1] - target).square().mean() + (energies - energies[:, :1]).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    weight = rotated.rotation.weight.detach()
    assert losses[-1] < 0.9 * losses[0]
    assert (weight - torch.eye(8)).abs().max() > 0.05
    torch.testing.assert_close(weight @ weight.T, torch.eye(8), rtol=0, atol=1e-5)


@pytest.mark.parametrize("substeps", [1, 4])
@pytest.mark.parametrize(("kind", "step"), COMBINATIONS)
def test_substeps_are_smaller_steps_of_which_every_kth_is_kept(kind, step, substeps):
    hamiltonian, z0 = steep64(kind(8, (16, 12))), points(3, 8)
    dynamics = in_float64(SubstepDynamics(hamiltonian, substeps, step), 0.8)
    expected = rollout(step, hamiltonian, z0, 0.8 / substeps, 3 * substeps)[:, ::substeps]
    assert dynamics.step_dt.item() == 0.8 / substeps and expected.shape == (3, 4, 8)
    torch.testing.assert_close(dynamics.rollout(z0, 3), expected, rtol=1e-12, atol=1e-12)
    states, energies = dynamics.rollout_with_energy(z0, 3)
    torch.testing.assert_close(states, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(energies, hamiltonian(expected), rtol=1e-12, atol=1e-12)


def test_substeps_divide_the_clamped_dt_and_its_gradient():
    hamiltonian, z0 = steep64(HNN(8, (16, 12))), points(3, 8)
    dynamics = in_float64(SubstepDynamics(hamiltonian, 4), 0.8)
    whole = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    expected = rollout(leapfrog_step, hamiltonian, z0, whole / 4, 12)[:, ::4]
    slope = torch.autograd.grad((expected * points(3, 4, 8)).sum(), whole)[0]
    for states in (dynamics.rollout(z0, 3), dynamics.rollout_with_energy(z0, 3)[0]):
        found = torch.autograd.grad((states * points(3, 4, 8)).sum(), dynamics.dt)[0]
        torch.testing.assert_close(found, slope, rtol=1e-11, atol=0)
    dynamics.dt.data.fill_(7.0)
    assert dynamics.clamped_dt.item() == 2.0 and dynamics.step_dt.item() == 0.5


@pytest.mark.parametrize(
    "dynamics",
    [
        RotatedDynamics(HNN(8, (8, 8)), 8),
        SubstepDynamics(HNN(8, (8, 8)), 2),
        HamiltonianDynamics(FeatureHamiltonian(HNN(8, (8, 8)), torch.tanh)),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(tmp_path, dynamics):
    with pytest.raises(ValueError, match="cannot be saved here: save its state_dict with safetensors"):
        dynamics.save_pretrained(tmp_path)
    assert list(tmp_path.iterdir()) == []


def my_step(hamiltonian, z, dt):
    return z + dt * hamiltonian.gradient(z)


@pytest.mark.parametrize(
    "step", [my_step, lambda h, z, dt: z, partial(tao_step, binding=2.0), tao_step.with_options(binding=2.0)]
)
def test_a_step_that_could_not_be_loaded_is_not_saved(tmp_path, step):
    dynamics = HamiltonianDynamics(HNN(8, (4,)), step)
    with pytest.raises(ValueError, match=r"cannot be saved, only leapfrog_step, euler_step, .*tao_step"):
        dynamics.save_pretrained(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_learned_dt_that_is_no_number_is_not_saved(tmp_path):
    dynamics = HamiltonianDynamics(HNN(8, (4,)))
    dynamics.dt.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="dt is nan"):
        dynamics.save_pretrained(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [HNN, SeparableHNN, BaselineMLP])
@pytest.mark.parametrize("width", [np.prod([8]), np.int32(8), torch.tensor(8)])
def test_sizes_of_numpy_and_torch_are_saved_and_loaded(tmp_path, kind, width):
    model = kind(width, (np.int64(4), np.int32(3)))
    model.save_pretrained(tmp_path)
    z = points(2, 8).float()
    assert torch.equal(kind.from_pretrained(tmp_path)(z), model(z))


@pytest.mark.parametrize("kind", [HNN, SeparableHNN])
def test_float64_weights_come_back_in_float64(tmp_path, kind):
    dynamics = HamiltonianDynamics(steep64(kind(8, (16, 12))), euler_step, dt=0.7).double()
    dynamics.dt.data += 1e-12
    dynamics.save_pretrained(tmp_path)
    loaded = HamiltonianDynamics.from_pretrained(tmp_path)
    assert torch.equal(loaded.rollout(points(3, 8), 2), dynamics.rollout(points(3, 8), 2))


def test_an_energy_saved_over_dynamics_takes_no_step_or_dt_of_theirs(tmp_path):
    HamiltonianDynamics(HNN(8, (4,)), rk4_step, dt=0.5).save_pretrained(tmp_path)
    HNN(8, (4,)).save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    with pytest.raises(FileNotFoundError, match="no saved dynamics in"):
        HamiltonianDynamics.from_pretrained(tmp_path)


DAMAGES = {
    "no json": "{",
    "a list": "[]",
    "nested too deep": "[" * 100_000,
    "no step": '{"hamiltonian": "HNN", "dt": 1.0}',
    "another module": '{"hamiltonian": "HNN", "step": "warnings", "dt": 1.0}',
    "another energy": '{"hamiltonian": "Module", "step": "leapfrog_step", "dt": 1.0}',
    "no number": '{"hamiltonian": "HNN", "step": "leapfrog_step", "dt": NaN}',
}


@pytest.mark.parametrize("text", DAMAGES.values(), ids=DAMAGES)
def test_damaged_dynamics_are_named_with_what_to_do(tmp_path, text):
    HamiltonianDynamics(HNN(8, (4,))).save_pretrained(tmp_path)
    (tmp_path / "dynamics.json").write_text(text)
    with pytest.raises(ValueError, match=r"dynamics\.json is damaged.*save the model again"):
        HamiltonianDynamics.from_pretrained(tmp_path)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_damaged_models_are_named_with_their_path(tmp_path, file):
    HNN(8, (4,)).save_pretrained(tmp_path)
    (tmp_path / file).write_bytes((tmp_path / file).read_bytes()[:20])
    with pytest.raises(ValueError, match=rf"{file} is damaged.*save the model again"):
        HNN.from_pretrained(tmp_path)


def test_a_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    HamiltonianDynamics(HNN(8, (4,))).save_pretrained("~/model")
    assert (tmp_path / "model" / "dynamics.json").is_file()
    HamiltonianDynamics.from_pretrained("~/model")


def test_rollouts_with_and_without_energy_refuse_the_same():
    dynamics = HamiltonianDynamics(HNN(8, (4,)))
    for rolled in (dynamics.rollout, dynamics.rollout_with_energy):
        with pytest.raises(ValueError, match="n_steps must not be negative, got -5"):
            rolled(torch.zeros(1, 8), -5)
        with pytest.raises(ValueError, match=r"computes in torch.float32, got z in torch.float64"):
            rolled(torch.zeros(1, 8, dtype=torch.float64), 2)
        with pytest.raises(TypeError, match="must be a torch tensor, got ndarray"):
            rolled(np.zeros((1, 8), np.float32), 2)


class Doubled(HNN):
    """A subclass with another energy."""

    def forward(self, z):
        return 2 * super().forward(z)

    def gradient(self, z):
        return 2 * super().gradient(z)

    def gradient_q(self, z):
        return self.gradient(z)[..., :4]

    def gradient_p(self, z):
        return self.gradient(z)[..., 4:]


class OnlyAnotherEnergy(HNN):
    """A subclass that forgot the gradient must at least not be moved by the fast rollout."""

    def forward(self, z):
        return super().forward(z).square()


def test_a_subclass_with_another_energy_does_not_take_the_fast_rollout():
    torch.manual_seed(0)
    plain, other = steep64(HNN(8, (16, 12))), steep64(Doubled(8, (16, 12)))
    assert plain.network_parameters() is not None
    assert other.network_parameters() is None and OnlyAnotherEnergy(8).network_parameters() is None
    z0 = points(3, 8)
    dynamics = in_float64(HamiltonianDynamics(other), 0.4)
    for states in (dynamics.rollout(z0, 3), dynamics.rollout_with_energy(z0, 3)[0]):
        torch.testing.assert_close(
            states, rollout(leapfrog_step, plain, z0, 0.8, 3), rtol=1e-12, atol=1e-12
        )  # 2 H for dt is H for 2 dt


class Spring(Hamiltonian):
    """H = (p² + ω² q²) / 2, D = 2."""

    separable = True

    def __init__(self, omega):
        super().__init__()
        self.omega = omega

    def forward(self, z):
        q, p = z.unbind(dim=-1)
        return (p.square() + (self.omega * q).square()) / 2


@pytest.mark.parametrize("step", [leapfrog_step, implicit_midpoint_step, stormer_verlet_step, rk4_step])
def test_a_held_force_moves_the_spring_as_its_closed_form(step):
    """q̈ = -ω²q + u: about q = u/ω² the motion is free, from one held force to the next."""
    omega, interval, n, actions = 1.3, 0.5, 400, torch.tensor([[0.7], [-1.1], [0.0]], dtype=torch.float64)
    q, p, states = 0.4, -0.2, [[0.4, -0.2]]
    for (u,) in actions.tolist():
        centre, (c, s) = u / omega**2, (math.cos(omega * interval), math.sin(omega * interval))
        q, p = centre + (q - centre) * c + p / omega * s, p * c - (q - centre) * omega * s
        states.append([q, p])
    control = torch.nn.Linear(1, 1, bias=False).double()
    control.weight.data.fill_(1.0)
    held = actions.repeat_interleave(n, dim=0)
    z0 = torch.tensor([0.4, -0.2], dtype=torch.float64)
    moved = driven_rollout(step, Spring(omega), z0, interval / n, control(held))[::n]
    torch.testing.assert_close(moved, torch.tensor(states, dtype=torch.float64), rtol=0, atol=2e-6)


def test_driven_dynamics_without_actions_are_the_free_ones():
    hamiltonian, z0 = steep64(SeparableHNN(8, (16, 12))), points(3, 8)
    driven = in_float64(DrivenDynamics(hamiltonian, torch.nn.Linear(2, 4, bias=False)), 0.4)
    free = in_float64(HamiltonianDynamics(hamiltonian), 0.4)
    actions = torch.zeros(3, 5, 2, dtype=torch.float64)
    torch.testing.assert_close(driven.rollout(z0, actions), free.rollout(z0, 5), rtol=1e-12, atol=1e-13)
    loss = driven.rollout(z0, actions + 1).square().sum()
    slope = torch.autograd.grad(loss, driven.control.weight)[0]
    h = 1e-6
    with torch.no_grad():
        sums = []
        for sign in (1, -1):
            driven.control.weight[0, 0] += sign * h
            sums.append(driven.rollout(z0, actions + 1).square().sum().item())
            driven.control.weight[0, 0] -= sign * h
    assert slope[0, 0].item() == pytest.approx((sums[0] - sums[1]) / (2 * h), rel=1e-5)


class Bodies(Hamiltonian):
    """Two bodies in the plane, of masses 1 and 2, on springs and on one another: entities by `unflatten`."""

    separable = True

    def forward(self, z):
        q, p = (half.unflatten(-1, (2, 2)) for half in z.chunk(2, dim=-1))
        masses = torch.tensor([1.0, 2.0], dtype=z.dtype)
        kinetic = (p.square().sum(dim=-1) / (2 * masses)).sum(dim=-1)
        return kinetic + q.square().sum(dim=(-2, -1)) / 2 + (q[..., 0, :] - q[..., 1, :]).square().sum(dim=-1)


def test_entities_and_masses_fit_the_same_contract():
    """Against the exact flow of this linear system."""
    z0, hamiltonian = points(8), Bodies()
    hessian = torch.autograd.functional.hessian(hamiltonian, z0)
    half = torch.eye(4, dtype=torch.float64)
    form = torch.cat([torch.cat([0 * half, half], 1), torch.cat([-half, 0 * half], 1)])
    exact = torch.linalg.matrix_exp(0.5 * form @ hessian) @ z0
    for step in (leapfrog_step, stormer_verlet_step):
        moved = rollout(step, hamiltonian, z0, 0.5 / 1000, 1000)[-1]
        torch.testing.assert_close(moved, exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("n_steps", [2.0, "2", None, math.nan, torch.tensor(2.0)])
def test_a_number_of_steps_that_is_not_whole_is_refused(hamiltonian, z0, n_steps):
    models = [HamiltonianDynamics(hamiltonian), SubstepDynamics(hamiltonian, 2)]
    for rolled in (*(model.rollout for model in models), *(model.rollout_with_energy for model in models)):
        with pytest.raises(TypeError, match="n_steps must be a whole number, got "):
            rolled(z0, n_steps)


def test_substeps_are_one_or_more(hamiltonian, z0):
    for substeps in (0, -1):
        with pytest.raises(ValueError, match=f"substeps must be 1 or more, got {substeps}"):
            SubstepDynamics(hamiltonian, substeps)
    with pytest.raises(TypeError, match=r"substeps must be a whole number, got 1\.5"):
        SubstepDynamics(hamiltonian, 1.5)
    with pytest.raises(ValueError, match="n_steps must not be negative, got -1"):
        SubstepDynamics(hamiltonian, 2).rollout(z0, -1)


@pytest.mark.parametrize("dt", ["long", None, torch.tensor([0.5, 0.6]), 1j])
def test_a_dt_that_is_no_number_is_refused(hamiltonian, dt):
    with pytest.raises(ValueError, match=r"dt must lie in \(0\.1, 2\.0\), got"):
        HamiltonianDynamics(hamiltonian, dt=dt)


@pytest.mark.parametrize("shape", [(8,), (2, 0, 8), (2, 3, 8)])
def test_energies_come_with_states_of_any_leading_shape(shape):
    torch.manual_seed(0)
    dynamics = HamiltonianDynamics(steep(HNN(8, (6, 5)).double()))
    z0 = torch.randn(shape, dtype=torch.float64)
    states, energies = dynamics.rollout_with_energy(z0, 3)
    torch.testing.assert_close(states, dynamics.rollout(z0, 3), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(energies, dynamics.energy(states), rtol=1e-12, atol=1e-12)


def test_a_rotation_of_another_width_or_dtype_is_named(hamiltonian, z0):
    rotated = RotatedDynamics(hamiltonian, 8)
    for method in (
        lambda z: rotated.rollout(z, 2),
        lambda z: rotated.rollout_with_energy(z, 2),
        rotated.energy,
    ):
        with pytest.raises(ValueError, match=r"takes z of width 8, got \(3, 6\)"):
            method(torch.zeros(3, 6))
        with pytest.raises(ValueError, match=r"computes in torch.float32, got z in torch.float64"):
            method(torch.zeros(3, 8, dtype=torch.float64))


@pytest.mark.parametrize(
    "model",
    [
        HamiltonianDynamics(steep(HNN(8, (16, 12)))),
        HamiltonianDynamics(steep(HNN(8, (16, 12))), stormer_verlet_step),
        HamiltonianDynamics(steep(SeparableHNN(8, (16, 12)))),
        HamiltonianDynamics(FeatureHamiltonian(steep(HNN(8, (16, 12))), torch.tanh)),
        SubstepDynamics(steep(HNN(8, (16, 12))), 2),
        RotatedDynamics(steep(HNN(8, (16, 12))), 8),
        BaselineMLP(8, (16,)),
    ],
)
def test_autocast_does_not_reach_a_rollout(model, z0):
    def states_and_slopes(autocast):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            results = [model.rollout(z0, 5)]
            if isinstance(model, HamiltonianDynamics):
                results += [*model.rollout_with_energy(z0, 5), model.energy(z0)]
        loss = sum(result.square().sum() for result in results)
        return results, torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)

    torch.testing.assert_close(states_and_slopes(True), states_and_slopes(False), rtol=0, atol=0)


def test_autocast_does_not_reach_a_driven_rollout(z0):
    driven = DrivenDynamics(steep(SeparableHNN(8, (16, 12))), torch.nn.Linear(2, 4))
    actions = torch.ones(3, 5, 2)
    expected = driven.rollout_with_energy(z0, actions)
    with torch.autocast("cpu", torch.bfloat16):
        found = driven.rollout_with_energy(z0, actions)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
