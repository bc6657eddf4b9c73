"""The same leapfrog and MLP written in JAX, to be timed beside ours; the only importer of jax.

jax and, for training, optax are extras. On a CPU XLA has a pool of threads of its own, which does not
follow `torch.set_num_threads`: to time both with one thread, start Python on one core
(`taskset -c 0 python …`), or with the environment variable XLA_FLAGS=--xla_cpu_multi_thread_eigen=false.
"""

import os
from functools import partial
from importlib.util import find_spec

import torch

from ...dynamics.predictors import DT_RANGE

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the GPU is shared with torch


def usable(device):
    """Whether jax is installed and computes on this kind of device."""
    if not find_spec("jax"):
        return False
    return load().default_backend() == {"cuda": "gpu"}.get(torch.device(device).type, "cpu")


def load():
    """jax with float32 products that are exactly that."""
    import jax  # pyright: ignore[reportMissingImports]  # an extra

    jax.config.update("jax_default_matmul_precision", "float32")
    return jax


def to_jax(tensor):
    """The tensor's own memory, where it is, as a jax array."""
    return load().dlpack.from_dlpack(tensor.detach().contiguous())


def parameters_of(model):
    """Of `HamiltonianDynamics` of an `HNN` or of a `BaselineMLP`: {"layers": [(W, b)], "dt" if any}."""
    copied = load().numpy.array  # an update reuses the memory of the parameters it is given
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    values = {"layers": [tuple(copied(to_jax(p)) for p in (layer.weight, layer.bias)) for layer in layers]}
    return values | ({"dt": copied(to_jax(model.dt))} if hasattr(model, "dt") else {})


def energy(layers, q, p):
    """H(q, p), the softplus MLP: (B, D/2), (B, D/2) → (B)."""
    jax = load()
    h = jax.numpy.concatenate([q, p], axis=-1)
    for weight, bias in layers[:-1]:
        h = jax.nn.softplus(h @ weight.T + bias)
    weight, bias = layers[-1]
    return (h @ weight.T + bias)[..., 0]


def leapfrog_rollout(parameters, z0, n_steps):
    """Algorithm 1 with `jax.grad` in a scan: (B, D) → (B, n_steps + 1, D)."""
    jax = load()
    layers, dt = parameters["layers"], parameters["dt"].clip(*DT_RANGE)
    dh_dq, dh_dp = (jax.grad(lambda q, p: energy(layers, q, p).sum(), argnums=i) for i in (0, 1))

    def step(state, _):
        q, p = state
        p = p - dt / 2 * dh_dq(q, p)
        q = q + dt * dh_dp(q, p)
        p = p - dt / 2 * dh_dq(q, p)
        return (q, p), jax.numpy.concatenate([q, p], axis=-1)

    return _with_start(z0, jax.lax.scan(step, tuple(jax.numpy.split(z0, 2, axis=-1)), length=n_steps)[1])


def mlp_rollout(parameters, z0, n_steps):
    """The ReLU MLP in a scan: (B, D) → (B, n_steps + 1, D)."""
    jax = load()

    def step(z, _):
        for weight, bias in parameters["layers"][:-1]:
            z = jax.nn.relu(z @ weight.T + bias)
        weight, bias = parameters["layers"][-1]
        z = z @ weight.T + bias
        return z, z

    return _with_start(z0, jax.lax.scan(step, z0, length=n_steps)[1])


def _with_start(z0, later):
    numpy = load().numpy
    return numpy.concatenate([z0[:, None], numpy.moveaxis(later, 0, 1)], axis=1)


def rollout_of(model):
    """The jitted rollout of the twin of a torch model as it is now, from tensor to tensor; it waits."""
    function = leapfrog_rollout if hasattr(model, "dt") else mlp_rollout
    jitted, parameters = load().jit(function, static_argnums=2), parameters_of(model)
    return lambda z0, n_steps: torch.from_dlpack(jitted(parameters, to_jax(z0), n_steps).block_until_ready())


def loss(parameters, windows, weight):
    """`rollout_loss(…).total` on windows (B, T, D)."""
    jnp = load().numpy
    n_steps = windows.shape[1] - 1
    if "dt" not in parameters:
        return ((mlp_rollout(parameters, windows[:, 0], n_steps) - windows)[:, 1:] ** 2).mean()
    states = leapfrog_rollout(parameters, windows[:, 0], n_steps)
    energies = energy(parameters["layers"], *jnp.split(states, 2, axis=-1))
    drift = jnp.abs(energies - energies[:, :1]).mean()
    return ((states - windows)[:, 1:] ** 2).mean() + weight * drift


def update_call(model, windows, *, weight=0.5, lr=1e-3, weight_decay=1e-5):
    """A function without arguments: one jitted update like `benchmark.update_call`; the loss, (1)."""
    import optax  # pyright: ignore[reportMissingImports]  # an extra

    jax = load()
    optimiser = optax.adamw(lr, weight_decay=weight_decay)
    parameters, windows = parameters_of(model), to_jax(windows)
    state = optimiser.init(parameters)

    def clipped(gradients):
        size = jax.numpy.sqrt(sum((g**2).sum() for g in jax.tree.leaves(gradients)))
        scale = jax.numpy.minimum(1.0, 1.0 / (size + 1e-6))
        return jax.tree.map(lambda g: scale * g, gradients)

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(parameters, state, windows):
        value, gradients = jax.value_and_grad(loss)(parameters, windows, weight)
        gradients = {name: clipped(part) for name, part in gradients.items()}
        changes, state = optimiser.update(gradients, state, parameters)
        return optax.apply_updates(parameters, changes), state, value

    def call():
        nonlocal parameters, state
        parameters, state, value = update(parameters, state, windows)
        return jax.block_until_ready((value, parameters))[0][None]

    return call
