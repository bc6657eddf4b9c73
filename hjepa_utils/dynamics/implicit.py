"""Implicit steps, symplectic for any H, and their exact Jacobians. GNI: see `integrators`."""

import torch
from torch.func import jacrev

from .fixed_point import fixed_point
from .hamiltonian import even_dim, velocity
from .step import declared


def midpoint_jacobian(hamiltonian, z, dt):
    """M = ∂z'/∂z of `implicit_midpoint_step` at z, (D,) → (D, D), from the equation it solves."""
    middle = (z + implicit_midpoint_step(hamiltonian, z, dt)) / 2
    return _solved(_field_jacobian(hamiltonian, middle), dt / 2, old=1.0, new=1.0)


def stormer_verlet_jacobian(hamiltonian, z, dt):
    """The same of `stormer_verlet_step`: two steps of dt/2, the first implicit in p, the second in q."""
    q, _ = z.chunk(2)
    p_half = implicit_half_kick(hamiltonian, z, dt)
    q_new, _ = stormer_verlet_step(hamiltonian, z, dt).chunk(2)
    is_q = torch.cat([torch.ones_like(q), torch.zeros_like(q)])
    before, after = (_field_jacobian(hamiltonian, torch.cat([x, p_half])) for x in (q, q_new))
    first = _solved(before, dt / 2, old=is_q, new=1 - is_q)
    second = _solved(after, dt / 2, old=1 - is_q, new=is_q)
    return second @ first


def _field_jacobian(hamiltonian, point):
    return jacrev(lambda z: velocity(hamiltonian, z))(point.detach())


def _solved(slope, h, *, old, new):
    """∂z'/∂z of z' = z + h v(old ∘ z + new ∘ z'), where `slope` is ∂v there."""
    eye = torch.eye(len(slope), dtype=slope.dtype, device=slope.device)
    return torch.linalg.solve(eye - h * slope * new, eye + h * slope * old)


@declared(order=2, implicit=True, jacobian=midpoint_jacobian)
def implicit_midpoint_step(hamiltonian, z, dt):
    """z' = z + dt J∇H((z + z')/2): second order, symplectic and reversible for any H.

    Hairer, Lubich and Wanner, Geometric Numerical Integration, §VI.4. Solved by iteration,
    which converges where dt/2 ‖∇²H‖ is below about 0.7; elsewhere raises `RuntimeError`
    with the residual reached. Differentiable once, by the implicit function theorem.
    """
    middle = fixed_point(
        lambda m: z + dt / 2 * velocity(hamiltonian, m),
        z,
        "the implicit midpoint step",
    )
    return 2 * middle - z


@declared(order=2, implicit=True, jacobian=stormer_verlet_jacobian)
def stormer_verlet_step(hamiltonian, z, dt):
    """The leapfrog for a joint H: second order, symplectic and reversible.

    Hairer, Lubich and Wanner, Geometric Numerical Integration, §VI.3, eq. 3.4:

    p½ = p - dt/2 ∂H/∂q(q, p½),  q' = q + dt/2 (∂H/∂p(q, p½) + ∂H/∂p(q', p½)),
    p' = p½ - dt/2 ∂H/∂q(q', p½). The first two are solved as in `implicit_midpoint_step`,
    with the same error and gradient.
    """
    even_dim(z.shape[-1])
    q = z.chunk(2, dim=-1)[0]
    p_half = implicit_half_kick(hamiltonian, z, dt)
    half_drift = q + dt / 2 * hamiltonian.gradient_p(torch.cat([q, p_half], dim=-1))

    def second_half(q_new):
        return half_drift + dt / 2 * hamiltonian.gradient_p(
            torch.cat([q_new, p_half], dim=-1),
        )

    q_new = fixed_point(second_half, q, "the drift of the Störmer–Verlet step")
    p_new = p_half - dt / 2 * hamiltonian.gradient_q(torch.cat([q_new, p_half], dim=-1))
    return torch.cat([q_new, p_new], dim=-1)


def implicit_half_kick(hamiltonian, z, dt):
    """p½ = p - dt/2 ∂H/∂q(q, p½): (…, D) → (…, D/2)."""
    q, p = z.chunk(2, dim=-1)

    def kicked(p_half):
        return p - dt / 2 * hamiltonian.gradient_q(torch.cat([q, p_half], dim=-1))

    return fixed_point(kicked, p, "the first kick of the Störmer–Verlet step")
