"""One step of Hamilton's equations q̇ = ∂H/∂p, ṗ = -∂H/∂q, and its repetition; pure functions.

Every step has the form `step(hamiltonian, z, dt)`: (…, D) → (…, D), with z = (q, p) along the last
axis and `hamiltonian` a `Hamiltonian`.
"""

import torch

from .fast_rollout import split_rollout
from .hamiltonian import HNN, check_width, even_dim


def leapfrog_step(hamiltonian, z, dt):
    """The paper's algorithm 1: half kick, drift, half kick.

    For a separable H = T(p) + V(q) this is Störmer–Verlet: second order, symplectic, and reversible
    in that a step of -dt undoes a step of dt.
    For a joint H(q, p), such as the paper's, each sub-step is not a shear, and the step is first
    order, not symplectic and not reversible (Hairer, Lubich & Wanner, *Geometric Numerical
    Integration*, §VI.3, give the implicit form that is).
    """
    even_dim(z.shape[-1])
    q, p = z.chunk(2, dim=-1)
    p_half = p - dt / 2 * hamiltonian.gradient_q(z)
    q_new = q + dt * hamiltonian.gradient_p(torch.cat([q, p_half], dim=-1))
    p_new = p_half - dt / 2 * hamiltonian.gradient_q(torch.cat([q_new, p_half], dim=-1))
    return torch.cat([q_new, p_new], dim=-1)


def euler_step(hamiltonian, z, dt):
    """Forward Euler, z + dt J∇H(z): first order, neither symplectic nor reversible for any H."""
    even_dim(z.shape[-1])
    dh_dq, dh_dp = hamiltonian.gradient(z).chunk(2, dim=-1)
    return z + dt * torch.cat([dh_dp, -dh_dq], dim=-1)


SPLITTINGS = {leapfrog_step: ((1 / 2, 0), (0, 1), (1 / 2, 0)), euler_step: ((1, 1),)}  # kick, drift per stage


def rollout(step, hamiltonian, z0, dt, n_steps):
    """Repeat a step: (…, D) → (…, n_steps + 1, D), z0 first. `ValueError` if D is odd or n_steps < 0.

    The same states as `repeat`, to rounding, with less arithmetic where the kinds of energy and step
    allow it: products of an `HNN`'s first layer are shared between stages, and a separable energy's
    force between leapfrog steps.
    """
    even_dim(z0.shape[-1])
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
