"""Solutions of x = f(x) by iteration, and their gradients by the implicit function theorem."""

import math

import torch


class NotConverged(RuntimeError):
    """An implicit equation was not solved to rounding: the step is too long for its iteration."""


def fixed_point(function, start, name, *, max_iterations=100):
    """The x near `start` with x = function(x), for a contraction of tensors of one shape.

    Differentiable once, with respect to all that `function` depends on: by the implicit function
    theorem the gradient costs a second iteration and no more memory than one evaluation. Raises
    `NotConverged` with `name` and the residual reached if either iteration does not converge to
    rounding, and `RuntimeError` within torch.func's transforms, where no tensor tells whether it has.
    """
    try:
        torch.empty(0).requires_grad_()  # which they all forbid
    except RuntimeError:
        raise RuntimeError(
            f"{name} cannot be taken by torch.func's transforms: differentiate it by torch.autograd, or "
            "take its Jacobian from step_jacobian"
        ) from None
    with torch.no_grad():
        x = _iterate(function, start, name, max_iterations, at_least=1.0)
    if not torch.is_grad_enabled():
        return x
    x = x.detach().requires_grad_()
    image = function(x)
    if not image.requires_grad:
        return x.detach()
    result = image.view_as(image)

    def solve_adjoint(result_bar):
        """y = x̄ + (∂f/∂x)ᵀ y: what flows on into f is (1 - ∂f/∂x)⁻ᵀ x̄."""
        if result_bar is None:
            return None
        if torch.is_grad_enabled():  # create_graph=True: the hook itself would not be differentiated
            raise RuntimeError(f"{name} can be differentiated once only")
        options = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}

        def pull_back(y):
            return result_bar + torch.autograd.grad(image, x, y, **options)[0]

        return _iterate(pull_back, result_bar, f"the gradient of {name}", max_iterations, at_least=0.0)

    result.register_hook(solve_adjoint)
    return result


def _iterate(function, x, name, max_iterations, *, at_least):
    """Iterate until the largest change is rounding, relative to the largest |x| or to `at_least`."""
    if not x.numel():
        return function(x)
    start, tolerance = x, 32 * torch.finfo(x.dtype).eps
    residual = math.nan  # without any iteration
    for _ in range(max_iterations):
        previous, x = x, function(x)
        largest = [torch.linalg.vector_norm(values, math.inf) for values in (x - previous, x)]
        change, size = torch.stack(largest).tolist()  # a GPU is waited for once
        size = max(size, at_least)
        if change <= tolerance * size < math.inf:
            return x
        residual = change / size if size else math.inf
    if not math.isfinite(residual):
        if not function(start).isfinite().all():  # no dt would help
            raise NotConverged(f"{name} met NaN or infinity: check that z is finite, and the model's weights")
        raise NotConverged(f"{name} ran away to infinity: take a smaller dt")
    raise NotConverged(
        f"{name} did not converge: after {max_iterations} iterations the relative residual is "
        f"{residual:.1g} (wanted: {tolerance:.1g}); take a smaller dt"
    )
