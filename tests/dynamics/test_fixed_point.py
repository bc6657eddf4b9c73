"""Fixed points with known values, and their gradients in closed form."""

import gc
import math
import weakref

import pytest
import torch
from torch.func import grad, jacfwd, jacrev, vmap

from hjepa_utils.dynamics.fixed_point import fixed_point

DOTTIE = 0.7390851332151607  # cos x = x


def scalar(value, **options):
    return torch.tensor(value, dtype=torch.float64, **options)


def test_the_fixed_point_of_the_cosine():
    for start in (0.3, 1.2, DOTTIE):
        assert fixed_point(torch.cos, scalar(start), "x").item() == pytest.approx(DOTTIE, abs=1e-14)


def test_a_tensor_is_solved_entry_by_entry():
    """x = y + x/2 · (1, -1, 0) has the solutions 2y, 2y/3 and y."""
    y = torch.randn(4, 3, dtype=torch.float64, generator=torch.manual_seed(0))
    slopes, factors = torch.tensor([[0.5, -0.5, 0], [2, 2 / 3, 1]], dtype=torch.float64)
    found = fixed_point(lambda x: y + slopes * x, torch.zeros_like(y), "x")
    torch.testing.assert_close(found, y * factors, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("start", [0.3, 0.9])
def test_the_gradient_is_the_implicit_functions(start):
    """dx/da of x = a cos x is cos x / (1 + a sin x), wherever the iteration starts."""
    a = scalar(0.8, requires_grad=True)
    x = fixed_point(lambda x: a * torch.cos(x), scalar(start), "x")
    slope = torch.autograd.grad(x, a)[0].item()
    x = x.item()
    assert x == pytest.approx(0.8 * math.cos(x), abs=1e-14)
    assert slope == pytest.approx(math.cos(x) / (1 + 0.8 * math.sin(x)), rel=1e-13)


def test_the_gradient_of_a_linear_system_is_its_inverse():
    """x = A x + b has x = (1 - A)⁻¹ b; with x̄ = c, b̄ = (1 - A)⁻ᵀ c and Ā = b̄ xᵀ."""
    torch.manual_seed(0)
    matrix, b, c = torch.randn(7, 5, dtype=torch.float64).split([5, 1, 1])
    b, c = b[0], c[0]
    matrix *= 0.4 / torch.linalg.matrix_norm(matrix, 2)
    matrix.requires_grad_()
    b.requires_grad_()
    x = fixed_point(lambda x: matrix @ x + b, torch.zeros_like(b).detach(), "x")
    of_matrix, of_b = torch.autograd.grad(x @ c, (matrix, b))
    inverse = torch.linalg.inv(torch.eye(5).double() - matrix.detach())
    torch.testing.assert_close(x.detach(), inverse @ b.detach(), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(of_b, inverse.T @ c, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(of_matrix, torch.outer(of_b, x.detach()), rtol=1e-13, atol=1e-13)


def test_a_result_used_twice_gets_both_gradients():
    a = scalar(0.8, requires_grad=True)
    x = fixed_point(lambda x: a * torch.cos(x), scalar(0.3), "x")
    slope = torch.autograd.grad(3 * x + x.square(), a)[0].item()
    x = x.item()
    assert slope == pytest.approx((3 + 2 * x) * math.cos(x) / (1 + 0.8 * math.sin(x)), rel=1e-13)


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e-40, 1e40])
def test_the_gradient_is_as_exact_for_any_size_of_what_flows_in(scale):
    a = scalar(0.8, requires_grad=True)
    x = fixed_point(lambda x: a * torch.cos(x), scalar(0.3), "x")
    slope, x = torch.autograd.grad(scale * x, a)[0].item(), x.item()
    assert slope == pytest.approx(scale * math.cos(x) / (1 + 0.8 * math.sin(x)), rel=1e-13, abs=0)


def test_float32_converges_to_its_own_rounding():
    a = torch.tensor(0.8, requires_grad=True)
    x = fixed_point(lambda x: a * torch.cos(x), torch.tensor(0.3), "x")
    assert x.dtype == torch.float32
    assert x.item() == pytest.approx(0.8 * math.cos(x.item()), abs=1e-5)


def test_without_gradients_no_graph_is_kept():
    a = scalar(0.8, requires_grad=True)
    with torch.no_grad():
        x = fixed_point(lambda x: a * torch.cos(x), scalar(0.3), "x")
    assert not x.requires_grad and x.grad_fn is None
    torch.testing.assert_close(x, fixed_point(lambda x: a * torch.cos(x), scalar(0.3), "x").detach())


def test_the_graph_goes_with_the_result():
    """Also without the garbage collector: a cycle would hold the memory of every step."""
    a = scalar(0.8, requires_grad=True)
    images = []

    def function(x):
        image = a * torch.cos(x)
        images.append(weakref.ref(image))
        return image

    gc.disable()
    try:
        x = fixed_point(function, scalar(0.3), "x")
        assert images[-1]() is not None  # what its gradient needs
        x.backward()
        del x
        assert images[-1]() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("enabled", [True, False])
def test_a_function_of_nothing_else_has_the_value_and_leaves_its_start_alone(enabled):
    start = scalar(0.3)
    with torch.set_grad_enabled(enabled):
        x = fixed_point(torch.cos, start, "x")
    assert x.item() == pytest.approx(DOTTIE, abs=1e-14)
    assert start.item() == 0.3 and not start.requires_grad


@pytest.mark.parametrize("transform", [vmap, jacrev, jacfwd, grad])
def test_torch_funcs_transforms_are_refused_in_a_sentence(transform):
    with pytest.raises(RuntimeError, match=r"^the test cannot be taken by torch\.func's transforms: "):
        transform(lambda start: fixed_point(torch.cos, start, "the test").sum())(scalar(0.3)[None])


@pytest.mark.parametrize(("slope", "residual"), [(-1.0, "2"), (2.0, "0.5")])
def test_what_does_not_contract_is_named_with_its_residual(slope, residual):
    """±1 for ever, or 1, 2, 4, …: the last change relative to the last value."""
    message = rf"^the test did not converge: after 100 iterations .* residual is {residual} \(wanted: 7e-15\)"
    with pytest.raises(RuntimeError, match=message):
        fixed_point(lambda x: slope * x, scalar(1.0), "the test")


def test_the_number_of_iterations_is_the_callers():
    def function(x):
        return 1 + 0.9 * x

    with pytest.raises(RuntimeError, match="after 100 iterations the relative residual is 3e-06"):
        fixed_point(function, scalar(0.0), "x")  # 0.9¹⁰⁰ is 3e-5, and a change is a tenth of it
    found = fixed_point(function, scalar(0.0), "x", max_iterations=400)
    assert found.item() == pytest.approx(10, abs=1e-12)


def test_a_gradient_that_does_not_converge_is_named():
    """x = a + 2x is solved where the iteration starts, but the adjoint y = 1 + 2y runs away."""
    a = scalar(0.5, requires_grad=True)
    x = fixed_point(lambda x: a + 2 * x, scalar(-0.5), "the test")
    assert x.item() == -0.5
    with pytest.raises(RuntimeError, match=r"^the gradient of the test did not converge"):
        x.backward()


def test_a_number_that_is_none_is_refused_and_not_iterated_for_ever():
    for bad in (math.nan, math.inf):
        with pytest.raises(RuntimeError, match=r"^x met NaN or infinity: check that z is finite, and the m"):
            fixed_point(torch.cos, scalar(bad), "x")
    with pytest.raises(RuntimeError, match=r"^x ran away to infinity: take a smaller dt$"):
        fixed_point(torch.square, scalar(2.0), "x")  # 2, 4, 16, …: finite where it starts


def test_a_second_derivative_is_refused_and_not_silently_wrong():
    a = scalar(0.8, requires_grad=True)
    x = fixed_point(lambda x: a * torch.cos(x), scalar(0.3), "the test")
    with pytest.raises(RuntimeError, match=r"^the test can be differentiated once only"):
        torch.autograd.grad(x, a, create_graph=True)


def test_an_empty_batch_stays_empty():
    empty = torch.zeros(0, 4, dtype=torch.float64)
    assert fixed_point(lambda x: x / 2 + 1, empty, "the test").shape == (0, 4)
