"""The controls against formulas written out, NumPy, matrix exponentials and plain rollouts."""

import math

import numpy as np
import pytest
import torch

from hjepa_utils import (
    HNN,
    HamiltonianDynamics,
    LatentWindows,
    SeparableHNN,
    euler_step,
    implicit_midpoint_step,
    leapfrog_step,
    rk4_step,
    rollout,
)
from hjepa_utils.controls import (
    GRU,
    FeatureHamiltonian,
    LinearMap,
    NeuralODE,
    RotatedDynamics,
    SubstepDynamics,
    best_rank,
    extrapolation_errors,
    floors,
    fourier_features,
    n_parameters,
    paper_arms,
    principal_directions,
)

COMBINATIONS = [  # a network and a step; only the first two share the products of the rollout
    (HNN, leapfrog_step),
    (HNN, euler_step),
    (HNN, rk4_step),
    (HNN, implicit_midpoint_step),
    (SeparableHNN, leapfrog_step),
]


def points(*shape, seed=2):
    return torch.randn(shape, dtype=torch.float64, generator=torch.manual_seed(seed))


def steep(model):
    """In float64, with weights that move."""
    torch.manual_seed(0)
    model = model.double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


def in_float64(dynamics, dt):
    """With dt in float64 too, where dt / substeps is the same number as without the class."""
    dynamics.double().dt.data.fill_(dt)
    return dynamics


def orthogonal_matrix(seed):
    return torch.linalg.qr(points(8, 8, seed=seed)).Q


def noisy_latents(rank, noise, n_videos=20, n_clips=24, latent_dim=12, seed=0):
    """Rotations in planes of a subspace of `rank` dimensions, seen with noise in all of them."""
    basis = torch.linalg.qr(points(latent_dim, latent_dim, seed=seed)).Q[:rank]
    turns = [torch.tensor([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]]) for a in (0.3, 0.7, 1.1)]
    turn = torch.block_diag(*turns[: rank // 2]).double()
    states = [points(n_videos, rank, seed=seed + 1)]
    for _ in range(n_clips - 1):
        states.append(states[-1] @ turn)
    clean = torch.stack(states, dim=1) @ basis
    return clean + noise * points(*clean.shape, seed=seed + 2)


def test_a_linear_map_is_found_again_from_what_it_moved():
    matrix = 0.8 * points(6, 6) / 6**0.5
    latents = LinearMap(matrix).rollout(points(10, 6, seed=3), 9)
    assert latents.shape == (10, 10, 6)
    torch.testing.assert_close(latents[:, 3], latents[:, 0] @ matrix @ matrix @ matrix)
    found = LinearMap.fitted_to(latents, rank=6)
    torch.testing.assert_close(found.matrix, matrix, rtol=0, atol=1e-11)
    torch.testing.assert_close(found.rollout(latents[:, 0], 9), latents, rtol=0, atol=1e-11)


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_a_smaller_rank_is_numpys_pseudoinverse_with_a_cut(rank):
    latents = points(4, 10, 6) * torch.tensor([3.0, 2.5, 2, 1.5, 1, 0.5]).double()
    now, following = latents[:, :-1].reshape(-1, 6).numpy(), latents[:, 1:].reshape(-1, 6).numpy()
    values = np.append(np.linalg.svd(now, compute_uv=False), 0)
    cut = (values[rank - 1] + values[rank]) / 2 / values[0]
    expected = np.linalg.pinv(now, rcond=cut) @ following
    found = LinearMap.fitted_to(latents, rank).matrix
    assert np.linalg.matrix_rank(found.numpy()) == rank
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-13)


def test_a_linear_map_keeps_the_latents_precision():
    assert LinearMap.fitted_to(points(4, 10, 6).float(), 3).matrix.dtype == torch.float32
    assert not list(LinearMap(torch.eye(6)).parameters())  # nothing is trained


@pytest.mark.parametrize("rank", [0, -1, 7])
def test_a_rank_that_is_none_is_refused(rank):
    with pytest.raises(ValueError, match=f"the rank must lie between 1 and 6, got {rank}"):
        LinearMap.fitted_to(points(4, 10, 6), rank)


@pytest.mark.parametrize("rank", [2, 4, 6])
def test_the_best_rank_is_the_true_one(rank):
    assert best_rank(noisy_latents(rank, noise=0.05), range(1, 13)) == rank
    assert best_rank(noisy_latents(rank, noise=0.05, seed=10), range(1, 13), length=8, n_folds=4) == rank


@pytest.mark.parametrize("asked", [919_041, 1_312_768, 300_000])
@pytest.mark.parametrize("latent_dim", [192, 1024])
def test_a_gru_is_as_wide_as_its_parameters_allow(latent_dim, asked):
    gru = GRU.of_size(latent_dim, asked)
    assert n_parameters(gru) <= asked < n_parameters(GRU(latent_dim, gru.cell.hidden_size + 1))


@pytest.mark.parametrize("hidden_dim", [2, 7, 64])
def test_a_grus_size_is_exact_at_the_border(hidden_dim):
    size = n_parameters(GRU(6, hidden_dim))
    assert GRU.of_size(6, size).cell.hidden_size == hidden_dim
    assert GRU.of_size(6, size - 1).cell.hidden_size == hidden_dim - 1


def test_a_gru_rolls_out_by_its_equations():
    """Cho et al.'s gates in the order of PyTorch's weights: reset, update, new."""
    gru = steep(GRU(8, 5))
    z = z0 = points(2, 3, 8)
    h = torch.tanh(z @ gru.start.weight.T + gru.start.bias)
    expected = [z]
    for _ in range(4):
        of_z = z @ gru.cell.weight_ih.T + gru.cell.bias_ih
        of_h = h @ gru.cell.weight_hh.T + gru.cell.bias_hh
        (reset_z, update_z, new_z), (reset_h, update_h, new_h) = of_z.chunk(3, -1), of_h.chunk(3, -1)
        reset, update = 1 / (1 + torch.exp(-reset_z - reset_h)), 1 / (1 + torch.exp(-update_z - update_h))
        h = (1 - update) * torch.tanh(new_z + reset * new_h) + update * h
        z = z + h @ gru.change.weight.T + gru.change.bias
        expected.append(z)
    states = gru.rollout(z0, 4)
    assert states.shape == (2, 3, 5, 8)
    torch.testing.assert_close(states, torch.stack(expected, dim=-2), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(gru.rollout(z0[1, 2], 4), states[1, 2], rtol=1e-13, atol=1e-13)


def test_a_neural_ode_with_a_linear_field_is_the_exponential_to_fifth_order():
    """Without hidden layers f(z) = Wz + b; a coordinate that stays 1 makes it linear."""
    ode, z0, errors = NeuralODE(6, hidden_dims=()).double(), points(3, 6), []
    layer = ode.field[0]
    for scale in (0.2, 0.1):
        with torch.no_grad():
            layer.weight.copy_(scale * points(6, 6, seed=3) / 6**0.5)
            layer.bias.copy_(scale * points(6, seed=4))
        field = torch.zeros(7, 7, dtype=torch.float64)
        field[:6, :6], field[:6, 6] = layer.weight.detach(), layer.bias.detach()
        powers = [torch.linalg.matrix_power(field, k) / math.factorial(k) for k in range(5)]
        extended = torch.cat([z0, torch.ones(3, 1, dtype=torch.float64)], dim=-1)
        states = ode.rollout(z0, 2).detach()
        assert states.shape == (3, 3, 6)
        once, twice = (extended @ torch.linalg.matrix_power(sum(powers).T, n) for n in (1, 2))
        torch.testing.assert_close(states[:, 1], once[:, :6], rtol=1e-13, atol=1e-14)
        torch.testing.assert_close(states[:, 2], twice[:, :6], rtol=1e-13, atol=1e-14)
        exact = extended @ torch.matrix_exp(field).T
        errors.append((states[:, 1] - exact[:, :6]).norm().item())
    assert errors[0] < 1e-4 and errors[0] / errors[1] == pytest.approx(32, rel=0.1)


def test_a_neural_odes_field_is_a_softplus_mlp_as_large_as_the_baseline():
    ode, z = steep(NeuralODE(6, (5, 4))), points(3, 6)
    w1, b1, w2, b2, w3, b3 = ode.parameters()
    hidden = torch.log1p(torch.exp(torch.log1p(torch.exp(z @ w1.T + b1)) @ w2.T + b2))
    torch.testing.assert_close(ode.field(z), hidden @ w3.T + b3, rtol=1e-13, atol=1e-13)
    assert n_parameters(NeuralODE(1024)) == 1_312_768


@pytest.mark.parametrize("model", [GRU(8, 5), NeuralODE(8, (4,)), LinearMap(torch.eye(8))])
def test_bad_rollouts_are_refused(model):
    z0 = torch.zeros(3, 8)
    assert torch.equal(model.rollout(z0, 0), z0[:, None])
    with pytest.raises(ValueError, match="n_steps must not be negative, got -2"):
        model.rollout(z0, -2)
    if not isinstance(model, LinearMap):
        with pytest.raises(ValueError, match=r"takes z of width 8, got \(3, 6\)"):
            model.rollout(z0[:, :6], 2)


@pytest.mark.parametrize(("kind", "step"), COMBINATIONS)
def test_rotated_dynamics_start_as_the_papers(kind, step):
    hamiltonian, z0 = steep(kind(8, (16, 12))), points(3, 8)
    plain = in_float64(HamiltonianDynamics(hamiltonian, step), 0.3)
    rotated = in_float64(RotatedDynamics(hamiltonian, 8, step), 0.3)
    assert torch.equal(rotated.rotation.weight, torch.eye(8, dtype=torch.float64))
    torch.testing.assert_close(rotated.rollout(z0, 5), plain.rollout(z0, 5), rtol=1e-14, atol=1e-14)
    both = rotated.rollout_with_energy(z0, 5), plain.rollout_with_energy(z0, 5)
    for mine, expected in zip(*both, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(("kind", "step"), COMBINATIONS)
def test_rotated_dynamics_are_a_rollout_in_other_coordinates(kind, step):
    hamiltonian, z0, matrix = steep(kind(8, (16, 12))), points(3, 8), orthogonal_matrix(seed=5)
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
    hamiltonian, z0 = steep(kind(8, (16, 12))), points(3, 8)
    dynamics = in_float64(SubstepDynamics(hamiltonian, substeps, step), 0.8)
    expected = rollout(step, hamiltonian, z0, 0.8 / substeps, 3 * substeps)[:, ::substeps]
    assert dynamics.clamped_dt.item() == 0.8 / substeps and expected.shape == (3, 4, 8)
    torch.testing.assert_close(dynamics.rollout(z0, 3), expected, rtol=1e-12, atol=1e-12)
    states, energies = dynamics.rollout_with_energy(z0, 3)
    torch.testing.assert_close(states, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(energies, hamiltonian(expected), rtol=1e-12, atol=1e-12)


def test_substeps_divide_the_clamped_dt_and_its_gradient():
    hamiltonian, z0 = steep(HNN(8, (16, 12))), points(3, 8)
    dynamics = in_float64(SubstepDynamics(hamiltonian, 4), 0.8)
    whole = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    expected = rollout(leapfrog_step, hamiltonian, z0, whole / 4, 12)[:, ::4]
    slope = torch.autograd.grad((expected * points(3, 4, 8)).sum(), whole)[0]
    for states in (dynamics.rollout(z0, 3), dynamics.rollout_with_energy(z0, 3)[0]):
        found = torch.autograd.grad((states * points(3, 4, 8)).sum(), dynamics.dt)[0]
        torch.testing.assert_close(found, slope, rtol=1e-11, atol=0)
    dynamics.dt.data.fill_(7.0)
    assert dynamics.clamped_dt.item() == 0.5


def test_a_hamiltonian_of_features_has_the_gradient_of_the_composition():
    network = steep(HNN(14 * 2, (16, 12)))
    hamiltonian, z = FeatureHamiltonian(network, fourier_features), points(3, 4).requires_grad_()

    def composed(z):
        waves = [z, z.sin(), z.cos(), (2 * z).sin(), (2 * z).cos(), (4 * z).sin(), (4 * z).cos()]
        return network(torch.cat(waves, dim=-1))

    expected = torch.autograd.grad(composed(z).sum(), z)[0]
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(hamiltonian(z), composed(z), rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(hamiltonian.gradient(z), expected, rtol=1e-13, atol=1e-13)
    halves = torch.cat([hamiltonian.gradient_q(z), hamiltonian.gradient_p(z)], dim=-1)
    torch.testing.assert_close(halves, expected, rtol=1e-13, atol=1e-13)


def test_a_hamiltonian_of_features_trains_its_network():
    network = steep(HNN(14 * 2, (16, 12)))
    dynamics = in_float64(HamiltonianDynamics(FeatureHamiltonian(network, fourier_features)), 0.3)
    states, energies = dynamics.rollout_with_energy(points(3, 4), 2)
    assert states.shape == (3, 3, 4) and energies.shape == (3, 3)
    weight = network.layers[0].weight
    (slope,) = torch.autograd.grad(states.square().sum() + energies.sum(), weight)
    sums, h = [], 1e-6
    with torch.no_grad():
        for change in (h, -2 * h):
            weight[1, 20] += change
            states, energies = dynamics.rollout_with_energy(points(3, 4), 2)
            sums.append((states.square().sum() + energies.sum()).item())
    assert slope[1, 20].item() == pytest.approx((sums[0] - sums[1]) / (2 * h), rel=1e-6)


def test_fourier_features_are_z_and_three_waves_of_each_coordinate():
    found = fourier_features(torch.tensor([[math.pi / 2, math.pi / 6]], dtype=torch.float64))
    root = math.sqrt(3) / 2
    expected = [math.pi / 2, math.pi / 6, 1, 0.5, 0, root, 0, root, -1, 0.5, 0, root, 1, -0.5]
    torch.testing.assert_close(found, torch.tensor([expected], dtype=torch.float64), rtol=0, atol=1e-15)
    assert fourier_features(points(2, 3, 8)).shape == (2, 3, 56)
    assert fourier_features(points(8), frequencies=(1.0,)).shape == (24,)


def test_extrapolation_goes_on_with_the_last_difference():
    """Exact on straight lines, but for the window whose first latent has none before it."""
    start, slope = points(3, 1, 4), points(3, 1, 4, seed=5)
    latents = start + slope * torch.arange(20, dtype=torch.float64)[:, None]
    errors = extrapolation_errors(latents, 6).reshape(3, 15, 5)
    assert errors[:, 1:].max() < 1e-20
    stays = (slope[:, 0] ** 2).mean(dim=-1, keepdim=True) * torch.arange(1, 6) ** 2
    np.testing.assert_allclose(errors[:, 0], stays.numpy(), rtol=1e-12)


def test_the_principal_directions_are_numpys_singular_vectors_in_order():
    latents = points(6, 5, 8) * torch.arange(8, 0, -1)
    found = principal_directions(latents)
    assert found.dtype == torch.float64
    assert principal_directions(latents.float()).dtype == torch.float32
    _, _, directions = np.linalg.svd(latents.reshape(-1, 8).numpy())
    np.testing.assert_allclose(np.abs(directions @ found.numpy()), np.eye(8), atol=1e-12)


def test_the_floors_and_the_papers_arms_are_what_they_are_called():
    windows = LatentWindows(points(6, 5, 8), points(2, 5, 8, seed=3), torch.arange(6), torch.arange(2), None)
    constant = floors(windows)["training mean"][0].rollout(windows.test[:, 0], 4)
    torch.testing.assert_close(constant[:, 1:], windows.train.mean(dim=(0, 1)).expand(2, 4, 8))
    models = {arm: build() for arm, build in paper_arms(1024).items()}
    assert {arm: n_parameters(model) for arm, model in models.items()} == {
        "HNN": 919_042,  # with dt
        "Baseline MLP": 1_312_768,
        "residual MLP": 1_312_768,
    }
    assert models["residual MLP"].residual and not models["Baseline MLP"].residual


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
