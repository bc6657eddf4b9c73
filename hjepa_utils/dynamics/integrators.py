"""Explicit steps of Hamilton's equations q̇ = ∂H/∂p, ṗ = -∂H/∂q, and the repetition of any step.

Every step is a `Step`, called as `step(hamiltonian, z, dt)`: (…, D) → (…, D), with z = (q, p) along
the last axis; only Tao's takes two copies of z, side by side. The implicit ones are in `implicit`.
GNI stands for Hairer, Lubich & Wanner, *Geometric Numerical Integration* (2nd edition, Springer 2006).
"""

from functools import wraps

import torch

from ..runs.checks import whole_number
from .fast_rollout import split_rollout
from .hamiltonian import Forced, check_state, even_dim, velocity
from .step import HALF_KICK_DRIFT_HALF_KICK, as_step, declared


@declared(order=2, joint_order=1, stages=HALF_KICK_DRIFT_HALF_KICK)
def leapfrog_step(hamiltonian, z, dt):
    """The paper's algorithm 1: half kick, drift, half kick.

    For a separable H = T(p) + V(q) this is Störmer–Verlet: second order, symplectic,
    and reversible in that a step of -dt undoes a step of dt.
    For a joint H(q, p), such as the paper's, the sub-steps are no shears. The step is
    then first order, not symplectic and not reversible (Hairer, Lubich and Wanner,
    Geometric Numerical Integration, §VI.3); `stormer_verlet_step` is both for any H.
    """
    even_dim(z.shape[-1])
    q, p = z.chunk(2, dim=-1)
    p_half = p - dt / 2 * hamiltonian.gradient_q(z)
    q_new = q + dt * hamiltonian.gradient_p(torch.cat([q, p_half], dim=-1))
    p_new = p_half - dt / 2 * hamiltonian.gradient_q(torch.cat([q_new, p_half], dim=-1))
    return torch.cat([q_new, p_new], dim=-1)


@declared(order=1, stages=((1, 1),))
def euler_step(hamiltonian, z, dt):
    """Forward Euler, z + dt J∇H(z): first order, neither symplectic nor reversible for any H."""
    return z + dt * velocity(hamiltonian, z)


@declared(order=4)
def rk4_step(hamiltonian, z, dt):
    """The classical Runge–Kutta step: fourth order, neither symplectic nor reversible."""
    return runge_kutta_4(lambda z: velocity(hamiltonian, z), z, dt)


@declared(order=2, copies=2)
def tao_step(hamiltonian, doubled, dt, *, binding=1.0):
    """Tao's explicit step for two copies (z, w) of a state: (…, 2 D) → (…, 2 D).

    Second order, and symplectic and reversible in the doubled space, not for z alone: the flow of
    H(q, y) + H(x, p) + ω/2 |z - w|² with z = (q, p), w = (x, y), split into its three terms; ω is
    `binding`, another one by `tao_step.with_options(binding=2.0)` (Tao, Phys. Rev. E 94, 043303, 2016,
    arXiv:1609.02212). `rollout` makes the second copy and returns the first.
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


def runge_kutta_4(field, z, dt):
    """One classical Runge–Kutta step of ż = field(z)."""
    k1 = field(z)
    k2 = field(z + dt / 2 * k1)
    k3 = field(z + dt / 2 * k2)
    k4 = field(z + dt * k3)
    return z + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def rollout(step, hamiltonian, z0, dt, n_steps):
    """Repeat a step: (…, D) → (…, n_steps + 1, D), z0 first.

    The same states as `repeat`, to rounding, with less arithmetic where the kinds of energy and step
    allow it: products of an `HNN`'s first layer are shared between stages, and a separable energy's
    force between steps. A step of two copies starts from two equal ones. `dt` is a number, or a tensor
    (…, 1) with one for each state. Raises `ValueError` if D is odd, n_steps < 0, or z0 or dt are of
    another shape or dtype than these.
    """
    step = as_step(step)
    check_state(z0)
    check_n_steps(n_steps)
    dt = _one_a_state(dt, z0)
    if step.copies > 1:
        doubled = torch.cat([z0] * step.copies, dim=-1)
        return repeat(lambda zw: step(hamiltonian, zw, dt), doubled, n_steps)[..., : z0.shape[-1]]
    if step.stages and (parameters := hamiltonian.network_parameters()):
        flat = check_state(z0, hamiltonian.latent_dim, like=parameters[0]).reshape(-1, z0.shape[-1])
        dt = dt.reshape(-1, 1) if isinstance(dt, torch.Tensor) and dt.ndim else dt
        states = split_rollout(parameters, flat, dt, step.stages, n_steps)
        return states.reshape(*z0.shape[:-1], n_steps + 1, z0.shape[-1])
    if step.stages and hamiltonian.separable:
        return _separable_rollout(hamiltonian, z0, dt, step.stages, n_steps)
    return repeat(lambda z: step(hamiltonian, z, dt), z0, n_steps)


def _one_a_state(dt, z0):
    """A number as it is, a tensor as (…, 1): of shape (D/2,) it would be another dt for every coordinate."""
    if not getattr(dt, "ndim", 0):
        return dt
    try:
        return dt.expand(*z0.shape[:-1], 1)
    except (AttributeError, RuntimeError):
        raise ValueError(
            f"dt must be a number, or a tensor {(*z0.shape[:-1], 1)} with one for each state, "
            f"got {tuple(dt.shape)}"
        ) from None


def driven_rollout(step, hamiltonian, z0, dt, forces):
    """`rollout` under forces on p, each held over one step: (…, D), (…, n, D/2) → (…, n + 1, D).

    A force f that is held is the energy H - f·q, so that any step takes it as it is (`Forced`).
    """
    step, states = as_step(step), [check_state(z0)]
    for force in forces.unbind(dim=-2):
        states.append(rollout(step, Forced(hamiltonian, force), states[-1], dt, 1)[..., -1, :])
    return torch.stack(states, dim=-2)


def _separable_rollout(hamiltonian, z0, dt, stages, n_steps):
    """Kicks and drifts of a separable energy; while q stands still, its force is not asked for again."""
    q, p = z0.chunk(2, dim=-1)
    states, force = [z0], None
    for _ in range(n_steps):
        for kick, drift in stages:
            z = torch.cat([q, p], dim=-1)
            moved = drift * dt * hamiltonian.gradient_p(z) if drift else None
            if kick:
                force = -hamiltonian.gradient_q(z) if force is None else force
                p = p + kick * dt * force
            if drift:
                q, force = q + moved, None
        states.append(torch.cat([q, p], dim=-1))
    return torch.stack(states, dim=-2)


def repeat(advance, z0, n_steps):
    """Repeat any map z → z of the last axis: (…, D) → (…, n_steps + 1, D), z0 first."""
    check_n_steps(n_steps)
    states = [z0]
    for _ in range(n_steps):
        states.append(advance(states[-1]))
    return torch.stack(states, dim=-2)


def in_own_precision(method):
    """Decorator of a model's method: autocast does not reach it, for a rollout adds its rounding up."""

    @wraps(method)
    def without_autocast(self, *args, **kwargs):
        device = next(self.parameters()).device.type
        if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
            return method(self, *args, **kwargs)
        with torch.autocast(device, enabled=False):
            return method(self, *args, **kwargs)

    return without_autocast


def check_n_steps(n_steps):
    if whole_number(n_steps, "n_steps") < 0:
        raise ValueError(f"n_steps must not be negative, got {n_steps}")
