"""One step of Hamilton's equations q̇ = ∂H/∂p, ṗ = -∂H/∂q, and its repetition; pure functions.

Every step has the form `step(hamiltonian, z, dt)`: (…, D) → (…, D), with z = (q, p) along the last
axis and `hamiltonian` a `Hamiltonian`; only Tao's takes two copies of z, side by side. GNI stands
for Hairer, Lubich & Wanner, *Geometric Numerical Integration* (2nd edition, Springer 2006).
"""

import warnings

import torch

from .fast_rollout import split_rollout
from .fixed_point import fixed_point
from .hamiltonian import HNN, check_width, even_dim


class NotSymplecticWarning(UserWarning):
    """The explicit leapfrog is used for a Hamiltonian for which it is not symplectic."""


def leapfrog_step(hamiltonian, z, dt):
    """The paper's algorithm 1: half kick, drift, half kick.

    For a separable H = T(p) + V(q) this is Störmer–Verlet: second order, symplectic, and reversible
    in that a step of -dt undoes a step of dt.
    For a joint H(q, p), such as the paper's, each sub-step is not a shear, and the step is first
    order, not symplectic and not reversible (GNI, §VI.3): it says so once, by a
    `NotSymplecticWarning`, and `stormer_verlet_step` is the one that is.
    """
    even_dim(z.shape[-1])
    warn_if_joint(hamiltonian)
    q, p = z.chunk(2, dim=-1)
    p_half = p - dt / 2 * hamiltonian.gradient_q(z)
    q_new = q + dt * hamiltonian.gradient_p(torch.cat([q, p_half], dim=-1))
    p_new = p_half - dt / 2 * hamiltonian.gradient_q(torch.cat([q_new, p_half], dim=-1))
    return torch.cat([q_new, p_new], dim=-1)


def euler_step(hamiltonian, z, dt):
    """Forward Euler, z + dt J∇H(z): first order, neither symplectic nor reversible for any H."""
    return z + dt * velocity(hamiltonian, z)


def rk4_step(hamiltonian, z, dt):
    """The classical Runge–Kutta step: fourth order, neither symplectic nor reversible."""
    return runge_kutta_4(lambda z: velocity(hamiltonian, z), z, dt)


def implicit_midpoint_step(hamiltonian, z, dt):
    """z' = z + dt J∇H((z + z')/2): second order, symplectic and reversible for any H (GNI, §VI.4).

    Solved by iteration, which converges where dt/2 ‖∇²H‖ is below about 0.7. Raises `RuntimeError` with the
    residual reached where it does not. Differentiable once, by the implicit function theorem.
    """
    middle = fixed_point(lambda m: z + dt / 2 * velocity(hamiltonian, m), z, "the implicit midpoint step")
    return 2 * middle - z


def stormer_verlet_step(hamiltonian, z, dt):
    """The leapfrog for a joint H: second order, symplectic and reversible (GNI, §VI.3, eq. 3.4).

    p½ = p - dt/2 ∂H/∂q(q, p½),  q' = q + dt/2 (∂H/∂p(q, p½) + ∂H/∂p(q', p½)),
    p' = p½ - dt/2 ∂H/∂q(q', p½). The first two are solved as in `implicit_midpoint_step`, with the
    same error and gradient.
    """
    even_dim(z.shape[-1])
    q = z.chunk(2, dim=-1)[0]
    p_half = implicit_half_kick(hamiltonian, z, dt)
    half_drift = q + dt / 2 * hamiltonian.gradient_p(torch.cat([q, p_half], dim=-1))

    def second_half(q_new):
        return half_drift + dt / 2 * hamiltonian.gradient_p(torch.cat([q_new, p_half], dim=-1))

    q_new = fixed_point(second_half, q, "the drift of the Störmer–Verlet step")
    p_new = p_half - dt / 2 * hamiltonian.gradient_q(torch.cat([q_new, p_half], dim=-1))
    return torch.cat([q_new, p_new], dim=-1)


def implicit_half_kick(hamiltonian, z, dt):
    """p½ = p - dt/2 ∂H/∂q(q, p½): (…, D) → (…, D/2)."""
    q, p = z.chunk(2, dim=-1)

    def kicked(p_half):
        return p - dt / 2 * hamiltonian.gradient_q(torch.cat([q, p_half], dim=-1))

    return fixed_point(kicked, p, "the first kick of the Störmer–Verlet step")


def tao_step(hamiltonian, doubled, dt, *, binding=1.0):
    """Tao's explicit step for two copies (z, w) of a state: (…, 2 D) → (…, 2 D).

    Second order, and symplectic and reversible in the doubled space, not for z alone: the flow of
    H(q, y) + H(x, p) + ω/2 |z - w|² with z = (q, p), w = (x, y), split into its three terms; ω is
    `binding` (Tao, Phys. Rev. E 94, 043303, 2016, arXiv:1609.02212). `rollout` makes the second
    copy and returns the first.
    """
    if doubled.shape[-1] % 4:
        raise ValueError(f"two copies of z = (q, p) have 4 equal parts, got {tuple(doubled.shape)}")
    z, w = doubled.chunk(2, dim=-1)
    z, w = _tao_flow(hamiltonian, z, w, dt / 2)
    w, z = _tao_flow(hamiltonian, w, z, dt / 2)
    z, w = _tao_binding(z, w, 2 * binding * dt)
    w, z = _tao_flow(hamiltonian, w, z, dt / 2)
    z, w = _tao_flow(hamiltonian, z, w, dt / 2)
    return torch.cat([z, w], dim=-1)


def _tao_flow(hamiltonian, z, w, dt):
    """The flow of H(q, y): it moves p and x, which it does not depend on."""
    (q, p), (x, y) = z.chunk(2, dim=-1), w.chunk(2, dim=-1)
    dh_dq, dh_dy = hamiltonian.gradient(torch.cat([q, y], dim=-1)).chunk(2, dim=-1)
    return torch.cat([q, p - dt * dh_dq], dim=-1), torch.cat([x + dt * dh_dy, y], dim=-1)


def _tao_binding(z, w, angle):
    """The flow of ω/2 |z - w|²: the mean stays, the difference turns by 2 ω dt."""
    angle = torch.as_tensor(
        angle, dtype=z.dtype, device=z.device
    )  # a sine in float32 would cost the symplecticity
    mean, (q, p) = (z + w) / 2, ((z - w) / 2).chunk(2, dim=-1)
    turned = torch.cat([q * angle.cos() + p * angle.sin(), p * angle.cos() - q * angle.sin()], dim=-1)
    return mean + turned, mean - turned


def velocity(hamiltonian, z):
    """Hamilton's vector field J∇H = (∂H/∂p, -∂H/∂q): (…, D) → (…, D)."""
    even_dim(z.shape[-1])
    dh_dq, dh_dp = hamiltonian.gradient(z).chunk(2, dim=-1)
    return torch.cat([dh_dp, -dh_dq], dim=-1)


def runge_kutta_4(field, z, dt):
    """One classical Runge–Kutta step of ż = field(z)."""
    k1 = field(z)
    k2 = field(z + dt / 2 * k1)
    k3 = field(z + dt / 2 * k2)
    k4 = field(z + dt * k3)
    return z + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def warn_if_joint(hamiltonian):
    if not getattr(hamiltonian, "separable", False) and not torch.compiler.is_compiling():
        warnings.warn(
            "leapfrog_step is symplectic, second order and reversible only for H = T(p) + V(q), which this "
            "Hamiltonian does not declare (`separable`): use stormer_verlet_step or implicit_midpoint_step.",
            NotSymplecticWarning,
            stacklevel=1,  # one place in one file, so that Python shows it once
        )


SPLITTINGS = {leapfrog_step: ((1 / 2, 0), (0, 1), (1 / 2, 0)), euler_step: ((1, 1),)}  # kick, drift per stage
IMPLICIT_STEPS = (implicit_midpoint_step, stormer_verlet_step)


def rollout(step, hamiltonian, z0, dt, n_steps):
    """Repeat a step: (…, D) → (…, n_steps + 1, D), z0 first. `ValueError` if D is odd or n_steps < 0.

    The same states as `repeat`, to rounding, with less arithmetic where the kinds of energy and step
    allow it: products of an `HNN`'s first layer are shared between stages, and a separable energy's
    force between leapfrog steps. `tao_step` starts from two equal copies of z0.
    """
    even_dim(z0.shape[-1])
    if step is leapfrog_step:
        warn_if_joint(hamiltonian)
    if step is tao_step:
        doubled = repeat(lambda zw: tao_step(hamiltonian, zw, dt), torch.cat([z0, z0], dim=-1), n_steps)
        return doubled[..., : z0.shape[-1]]
    if type(hamiltonian) is HNN and step in SPLITTINGS and n_steps >= 0:
        flat = check_width(z0, hamiltonian.latent_dim).reshape(-1, z0.shape[-1])
        states = split_rollout(list(hamiltonian.parameters()), flat, dt, SPLITTINGS[step], n_steps)
        return states.reshape(*z0.shape[:-1], n_steps + 1, z0.shape[-1])
    if hamiltonian.separable and step is leapfrog_step:
        return _separable_leapfrog(hamiltonian, z0, dt, n_steps)
    return repeat(lambda z: step(hamiltonian, z, dt), z0, n_steps)


def _separable_leapfrog(hamiltonian, z0, dt, n_steps):
    """`leapfrog_step` with two gradients a step: ∂V/∂q after a step is the one before the next."""
    force = -hamiltonian.gradient_q(z0)

    def step(z):
        nonlocal force
        q, p = z.chunk(2, dim=-1)
        p_half = p + dt / 2 * force
        q_new = q + dt * hamiltonian.gradient_p(torch.cat([q, p_half], dim=-1))
        force = -hamiltonian.gradient_q(torch.cat([q_new, p_half], dim=-1))
        return torch.cat([q_new, p_half + dt / 2 * force], dim=-1)

    return repeat(step, z0, n_steps)


def repeat(advance, z0, n_steps):
    """Repeat any map z → z of the last axis: (…, D) → (…, n_steps + 1, D), z0 first."""
    if n_steps < 0:
        raise ValueError(f"n_steps must not be negative, got {n_steps}")
    states = [z0]
    for _ in range(n_steps):
        states.append(advance(states[-1]))
    return torch.stack(states, dim=-2)
