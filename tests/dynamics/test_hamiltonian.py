"""Energies and their gradients: the closed form against autograd, in float64."""

import math

import pytest
import torch
from torch import no_grad
from torch.autograd import gradcheck
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, vmap

from hjepa_utils import (
    HNN,
    Hamiltonian,
    HamiltonianDynamics,
    SeparableHNN,
    leapfrog_step,
    rk4_step,
    tao_step,
)
from hjepa_utils.dynamics.hamiltonian import FeatureHamiltonian, fourier_features

MODELS = {"joint": HNN, "separable": SeparableHNN}


class Pendulum(Hamiltonian):
    """H = p²/2 - cos q, with the base class' gradient."""

    def forward(self, z):
        q, p = z.chunk(2, dim=-1)
        return (p.square() / 2 - torch.cos(q)).sum(dim=-1)


@pytest.fixture(params=MODELS)
def model(request):
    """A float64 network with weights far from zero, so that every layer bends."""
    torch.manual_seed(0)
    return steep(MODELS[request.param](8, (16, 12, 10)).double())


def steep(network):
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    return network


def points(*shape, seed=1):
    return torch.randn(shape, dtype=torch.float64, generator=torch.manual_seed(seed))


class GradientOf(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, z):
        return self.model.gradient(z)


def in_float64(dynamics, dt):
    """With dt in float64 too, where dt / substeps is the same number as without the class."""
    dynamics.double().dt.data.fill_(dt)
    return dynamics


def test_the_closed_form_is_the_derivative_that_autograd_gives(model):
    z = points(5, 8).requires_grad_()
    expected = torch.autograd.grad(model(z).sum(), z)[0]
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(model.gradient(z), expected, rtol=1e-12, atol=1e-12)


def test_the_energy_is_the_formula_of_a_softplus_mlp():
    model, z = steep(HNN(4, (6, 5)).double()), points(4)
    (w1, b1), (w2, b2), (w3, b3) = [(layer.weight, layer.bias) for layer in model.layers]
    hidden = torch.log(1 + torch.exp(w2 @ torch.log(1 + torch.exp(w1 @ z + b1)) + b2))
    torch.testing.assert_close(model(z), (w3 @ hidden + b3)[0], rtol=1e-13, atol=0)


def test_the_gradients_derivative_is_the_hessian(model):
    z = points(3, 8).requires_grad_()
    rows = [torch.autograd.grad(model.gradient(z)[:, i].sum(), z, retain_graph=True)[0] for i in range(8)]
    torch.testing.assert_close(torch.stack(rows, dim=1), vmap(hessian(model))(z), rtol=1e-10, atol=1e-12)


def test_the_gradient_can_be_differentiated_by_the_weights(model):
    z, names = points(2, 8), dict(model.named_parameters())

    def gradient_of(*weights):
        state = dict(zip(names, weights, strict=True))
        return functional_call(GradientOf(model), {f"model.{k}": v for k, v in state.items()}, (z,))

    assert gradcheck(gradient_of, tuple(names.values()), fast_mode=True)


def test_the_halves_are_the_gradients_by_q_and_by_p(model):
    z = points(3, 8)
    torch.testing.assert_close(model.gradient_q(z), model.gradient(z)[..., :4], rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(model.gradient_p(z), model.gradient(z)[..., 4:], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (2, 0, 3)])
def test_leading_axes_are_kept(model, batch):
    z = points(*batch, 8)
    assert model(z).shape == batch
    assert model.gradient(z).shape == (*batch, 8)
    assert model.gradient_q(z).shape == model.gradient_p(z).shape == (*batch, 4)
    if z.numel():
        one_by_one = torch.stack([model.gradient(point) for point in z.view(-1, 8)])
        torch.testing.assert_close(model.gradient(z).view(-1, 8), one_by_one, rtol=1e-12, atol=1e-14)


def test_parameter_counts_are_the_papers():
    assert sum(p.numel() for p in HNN().parameters()) == 919_041
    one_half = 512 * 512 + 512 + 512 * 512 + 512 + 512 * 256 + 256 + 256 + 1
    assert sum(p.numel() for p in SeparableHNN().parameters()) == 2 * one_half


def test_only_the_joint_energy_couples_q_and_p():
    torch.manual_seed(0)
    joint, separable = steep(HNN(8, (16, 12)).double()), steep(SeparableHNN(8, (16, 12)).double())
    z = points(8)
    assert hessian(joint)(z)[:4, 4:].abs().max() > 1e-2
    assert (hessian(separable)(z)[:4, 4:] == 0).all()
    assert hessian(separable)(z)[:4, :4].abs().max() > 1e-3
    assert hessian(separable)(z)[4:, 4:].abs().max() > 1e-3
    assert (HNN.separable, SeparableHNN.separable) == (False, True)


def test_a_separable_energy_is_the_sum_of_its_parts():
    model, z = steep(SeparableHNN(8, (16, 12)).double()), points(3, 8)
    torch.testing.assert_close(model(z), model.kinetic(z[:, 4:]) + model.potential(z[:, :4]))


def test_the_base_class_differentiates_by_autograd():
    z = points(5, 6)
    expected = torch.cat([torch.sin(z[:, :3]), z[:, 3:]], dim=-1)
    torch.testing.assert_close(Pendulum().gradient(z), expected, rtol=1e-14, atol=0)
    torch.testing.assert_close(Pendulum().gradient_q(z), expected[:, :3], rtol=1e-14, atol=0)
    torch.testing.assert_close(Pendulum().gradient_p(z), expected[:, 3:], rtol=1e-14, atol=0)


def test_the_base_class_differentiates_within_no_grad_and_twice():
    z = points(6)
    with torch.no_grad():
        assert torch.equal(Pendulum().gradient(z), Pendulum().gradient(z.clone().requires_grad_()))
    assert not z.requires_grad
    z.requires_grad_()
    second = torch.autograd.grad(Pendulum().gradient(z).sum(), z)[0]
    expected = torch.cat([torch.cos(z[:3]), torch.ones(3, dtype=torch.float64)])
    torch.testing.assert_close(second, expected, rtol=1e-14, atol=0)


class Tanh(Hamiltonian):
    """An energy of one's own: joint, with weights, its gradient by autograd."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(6, 5).double()

    def forward(self, z):
        return torch.tanh(self.layer(z)).square().sum(dim=-1)


@pytest.mark.parametrize("step", [leapfrog_step, rk4_step, tao_step])
@pytest.mark.parametrize("transform", [jacrev, jacfwd, lambda end: no_grad()(jacrev(end))])
def test_torch_func_differentiates_a_rollout_of_an_energy_of_ones_own(step, transform):
    dynamics, z0 = HamiltonianDynamics(Tanh(), step).double(), points(3, 6)
    end = lambda z: dynamics.rollout(z, 2)[..., -1, :]  # noqa: E731
    expected = torch.stack([torch.autograd.functional.jacobian(end, z) for z in z0])
    torch.testing.assert_close(torch.stack([transform(end)(z) for z in z0]), expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(vmap(transform(end))(z0), expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(vmap(end)(z0), end(z0), rtol=1e-14, atol=0)
    torch.testing.assert_close(vmap(end)(z0.clone().requires_grad_()), end(z0), rtol=1e-14, atol=0)


def test_torch_func_differentiates_by_the_weights_of_an_energy_of_ones_own():
    model = GradientOf(Tanh())
    for z in (points(3, 6), points(3, 6).requires_grad_()):
        loss = lambda weights, z=z: functional_call(model, weights, (z,)).square().sum()  # noqa: E731
        expected = torch.autograd.grad(model(z).square().sum(), list(model.parameters()))
        found = grad(loss)(dict(model.named_parameters()))
        torch.testing.assert_close(tuple(found.values()), expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("width", [7, 1, 0, -2])
@pytest.mark.parametrize("kind", MODELS.values())
def test_an_odd_latent_is_refused(kind, width):
    with pytest.raises(ValueError, match=f"even number of dimensions, got {width}"):
        kind(width)


@pytest.mark.parametrize("width", [2, 6])
def test_a_separable_energy_takes_any_even_width(width):
    """A pendulum has D = 2."""
    model, z = steep(SeparableHNN(width, (8, 6)).double()), points(3, width).requires_grad_()
    expected = torch.autograd.grad(model(z).sum(), z)[0]
    torch.testing.assert_close(model.gradient(z), expected, rtol=1e-12, atol=1e-14)
    assert model.kinetic.layers[0].weight.shape == (8, width // 2)


@pytest.mark.parametrize("method", ["forward", "gradient", "gradient_q", "gradient_p"])
def test_a_latent_of_another_width_is_refused(model, method):
    with pytest.raises(ValueError, match=r"takes z of width 8, got \(3, 10\)"):
        getattr(model, method)(points(3, 10))


@pytest.mark.parametrize("kind", MODELS.values())
def test_a_saved_model_is_loaded_in_one_line(tmp_path, kind):
    torch.manual_seed(0)
    model = steep(kind(8, (16, 12)))
    model.save_pretrained(tmp_path)
    z = points(3, 8).float()
    assert torch.equal(kind.from_pretrained(tmp_path)(z), model(z))
    assert {p.name for p in tmp_path.iterdir()} >= {"config.json", "model.safetensors"}
    assert not [p for p in tmp_path.iterdir() if p.suffix in (".bin", ".pt", ".pkl")]


@pytest.mark.parametrize(("saved", "kind"), [(SeparableHNN, HNN), (HNN, SeparableHNN)])
def test_a_checkpoint_of_another_model_is_refused(tmp_path, saved, kind):
    """Loading it anyway would give random weights without a word."""
    saved(8, (16, 12)).save_pretrained(tmp_path)
    with pytest.raises((ValueError, RuntimeError)):
        kind.from_pretrained(tmp_path)


def test_weights_start_xavier_normal_with_gain_one_half_and_no_bias():
    torch.manual_seed(0)
    for layer in HNN(256, (512, 384)).layers:
        assert (layer.bias == 0).all()
        n_out, n_in = layer.weight.shape
        expected = 0.5 * (2 / (n_in + n_out)) ** 0.5
        relative_error = 5 / (2 * layer.weight.numel()) ** 0.5  # five standard errors of a std
        assert layer.weight.std().item() == pytest.approx(expected, rel=relative_error)


@pytest.mark.parametrize("latent_dim", [8, 192, 1024])
def test_a_separable_energy_is_as_large_as_asked_and_no_larger(latent_dim):
    """One more hidden unit in the last layer, two in the others, would be too many."""
    asked = sum(p.numel() for p in HNN(latent_dim).parameters())
    model = SeparableHNN.of_size(latent_dim, asked)
    width = model.potential.layers[-1].in_features + 1
    size, larger = (
        sum(p.numel() for p in m.parameters())
        for m in (model, SeparableHNN(latent_dim, (2 * width, 2 * width, width)))
    )
    assert size <= asked < larger and size > 0.98 * asked


def feature_points(*shape, seed=2):
    return torch.randn(shape, dtype=torch.float64, generator=torch.manual_seed(seed))


def steep_features(model):
    """In float64, with weights that move."""
    torch.manual_seed(0)
    model = model.double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


def test_a_hamiltonian_of_features_has_the_gradient_of_the_composition():
    network = steep_features(HNN(14 * 2, (16, 12)))
    hamiltonian, z = FeatureHamiltonian(network, fourier_features), feature_points(3, 4).requires_grad_()

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
    network = steep_features(HNN(14 * 2, (16, 12)))
    dynamics = in_float64(HamiltonianDynamics(FeatureHamiltonian(network, fourier_features)), 0.3)
    states, energies = dynamics.rollout_with_energy(feature_points(3, 4), 2)
    assert states.shape == (3, 3, 4) and energies.shape == (3, 3)
    weight = network.layers[0].weight
    (slope,) = torch.autograd.grad(states.square().sum() + energies.sum(), weight)
    sums, h = [], 1e-6
    with torch.no_grad():
        for change in (h, -2 * h):
            weight[1, 20] += change
            states, energies = dynamics.rollout_with_energy(feature_points(3, 4), 2)
            sums.append((states.square().sum() + energies.sum()).item())
    assert slope[1, 20].item() == pytest.approx((sums[0] - sums[1]) / (2 * h), rel=1e-6)


def test_fourier_features_are_z_and_three_waves_of_each_coordinate():
    found = fourier_features(torch.tensor([[math.pi / 2, math.pi / 6]], dtype=torch.float64))
    root = math.sqrt(3) / 2
    expected = [math.pi / 2, math.pi / 6, 1, 0.5, 0, root, 0, root, -1, 0.5, 0, root, 1, -0.5]
    torch.testing.assert_close(found, torch.tensor([expected], dtype=torch.float64), rtol=0, atol=1e-15)
    assert fourier_features(feature_points(2, 3, 8)).shape == (2, 3, 56)
    assert fourier_features(feature_points(8), frequencies=(1.0,)).shape == (24,)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("8", (4,)), "the width of z must be a whole number, got '8'"),
        ((8.0, (4,)), "the width of z must be a whole number, got 8.0"),
        ((8, 16), r"one width each, such as \(512, 256\), got 16"),
        ((8, (4.0,)), "the width of a layer must be a whole number, got 4.0"),
    ],
)
@pytest.mark.parametrize("kind", MODELS.values())
def test_sizes_that_are_no_whole_numbers_are_named(kind, arguments, words):
    with pytest.raises(TypeError, match=words):
        kind(*arguments)


@pytest.mark.parametrize("n_parameters", [41, -5, math.nan])
def test_too_few_parameters_for_a_separable_energy_are_refused(n_parameters):
    with pytest.raises(ValueError, match=f"width 8 needs 42 parameters, got {n_parameters}"):
        SeparableHNN.of_size(8, n_parameters)
    assert sum(p.numel() for p in SeparableHNN.of_size(8, 42).parameters()) == 42
