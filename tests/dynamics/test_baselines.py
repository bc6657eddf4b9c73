"""The predictors: a learnable dt, saved and loaded whole, and the floors."""

import math

import numpy as np
import pytest
import torch

from hjepa_utils import (
    BaselineMLP,
    LatentWindows,
    Persistence,
    TrainingMean,
)
from hjepa_utils.dynamics.baselines import GRU, LinearMap, NeuralODE, floors, n_parameters
from hjepa_utils.systems.hjepa.paper import paper_arms


@pytest.fixture
def z0():
    return torch.randn(3, 8, generator=torch.manual_seed(1))


def points(*shape, seed=2):
    return torch.randn(shape, dtype=torch.float64, generator=torch.manual_seed(seed))


def steep(model):
    """In float64, with weights that move."""
    torch.manual_seed(0)
    model = model.double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


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


def test_the_floors_and_the_papers_arms_are_what_they_are_called():
    windows = LatentWindows(points(6, 5, 8), points(2, 5, 8, seed=3), torch.arange(6), torch.arange(2), None)
    constant = floors(windows)["training mean"][0].rollout(windows.test[:, 0], 4)
    torch.testing.assert_close(constant[:, 1:], windows.train.mean(dim=(0, 1)).expand(2, 4, 8))
    models = {arm: build() for arm, build in paper_arms(1024).items()}
    assert {arm: n_parameters(model) for arm, model in models.items()} == {
        "HNN": 919_042,  # with dt
        "MLP": 1_312_768,
        "residual MLP": 1_312_768,
    }
    assert models["residual MLP"].residual and not models["MLP"].residual


@pytest.mark.parametrize(
    "build",
    [lambda: GRU(8, 0), lambda: NeuralODE(8, (0,)), lambda: BaselineMLP(0), lambda: BaselineMLP(8, (4, -1))],
)
def test_layers_without_units_are_refused(build):
    with pytest.raises(ValueError, match="layers need widths of 1 or more, got"):
        build()


@pytest.mark.parametrize("build", [GRU, lambda dim, width: NeuralODE(dim, (width,))])
def test_sizes_that_are_no_whole_numbers_are_named(build):
    for sizes in ((8.0, 4), (8, 2.5)):
        with pytest.raises(TypeError, match="the width of a layer must be a whole number, got"):
            build(*sizes)


def test_residual_is_true_or_false_and_saved_as_it_is(tmp_path):
    BaselineMLP(8, (4,), residual=np.bool_(True)).save_pretrained(tmp_path)
    assert BaselineMLP.from_pretrained(tmp_path).residual is True
    with pytest.raises(ValueError, match="residual must be True or False, got 'no'"):
        BaselineMLP(8, (4,), residual="no")


@pytest.mark.parametrize("model", [LinearMap(torch.eye(8)), TrainingMean(torch.zeros(8))])
def test_the_floors_and_the_linear_map_name_another_width(model):
    with pytest.raises(ValueError, match=r"takes z of width 8, got \(3, 6\)"):
        model.rollout(torch.zeros(3, 6), 2)


def test_videos_of_one_clip_fix_no_linear_map():
    with pytest.raises(ValueError, match="two clips a video or more, got"):
        LinearMap.fitted_to(points(3, 1, 8), 4)
