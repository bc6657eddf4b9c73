"""What a step costs beside what people would use instead, measured side by side in one run."""

import logging
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from typing import NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import clip_grad_norm_

from ...dynamics.baselines import BaselineMLP
from ...dynamics.hamiltonian import HNN, Hamiltonian, SeparableHNN, velocity
from ...dynamics.integrators import euler_step
from ...dynamics.predictors import HamiltonianDynamics
from ...experiment.ensemble import Stacked, clip_each
from ...experiment.timing import seconds
from ...experiment.training import rollout_loss
from ...experiment.updates import Updates
from ...runs.cuda_graphs import graphed
from . import jax_peer


class AutogradHNN(Hamiltonian):
    """An `HNN`'s energy in PyTorch's own functions, its gradient by autograd: the published way."""

    def __init__(self, hnn):
        super().__init__()
        self.layers = hnn.layers

    def forward(self, z):
        for layer in self.layers[:-1]:
            z = F.softplus(layer(z))
        return self.layers[-1](z).squeeze(-1)


class Solver(nn.Module):
    """J∇H of an `HNN`, in closed form, under a fixed-step solver of torchdiffeq, one step a latent."""

    def __init__(self, hnn, method):
        super().__init__()
        self.hnn, self.method = hnn, method

    def field(self, t, z):
        return velocity(self.hnn, z)

    def rollout(self, z0, n_steps):
        from torchdiffeq import odeint  # here, because the rest is timed without it, too

        times = torch.arange(n_steps + 1, device=z0.device, dtype=z0.dtype)
        states = cast(torch.Tensor, odeint(self.field, z0, times, method=self.method))
        return states.movedim(0, -2)


class Fast(NamedTuple):
    """A rollout by other means: (z0, n_steps) as a model's."""

    rollout: Callable


def graphed_rollout(model):
    """The model's rollout as a CUDA graph, recorded at the first call for a shape; no gradients."""
    graphs = {}

    def rollout(z0, n_steps):
        if (z0.shape, n_steps) not in graphs:
            graphs[z0.shape, n_steps] = graphed(partial(model.rollout, n_steps=n_steps), z0)
        return graphs[z0.shape, n_steps](z0)

    return Fast(rollout)


def compiled_rollout(model, dim, device):
    """The model's rollout compiled, on a GPU into CUDA graphs; None, with one line, if that fails.

    A first call for a new shape is slow. It is for predictions, under `torch.no_grad()`.
    """
    mode = "reduce-overhead" if torch.device(device).type == "cuda" else "default"
    rollout = torch.compile(model.rollout, dynamic=False, mode=mode)
    try:
        with torch.no_grad(), _quiet("torch.utils.cpp_extension"):  # it tells of a GPU that is not there
            rollout(torch.zeros(1, dim, device=device), 1)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        print(f"the compiled rollout is left out, because the compiler does not work here: {reason}")
        return None
    return Fast(rollout)


@contextmanager
def _quiet(logger):
    logger = logging.getLogger(logger)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def contestants(dim, device):
    """What is timed, {name: something with a rollout}, all on the same weights where they can.

    Left out is what is not there: a compiler, a GPU for CUDA graphs, torchdiffeq, JAX.
    """
    hnn, mlp = HNN(dim), BaselineMLP(dim)
    for layer in hnn.layers:  # steps as long as the trained ones; the published initial field is almost zero
        nn.init.xavier_normal_(layer.weight, gain=1.5, generator=torch.Generator().manual_seed(0))
    models = {
        "MLP": mlp,
        "HNN, Euler": HamiltonianDynamics(hnn, euler_step),
        "HNN": HamiltonianDynamics(hnn),
        "HNN, autograd": HamiltonianDynamics(AutogradHNN(hnn)),
        "separable HNN": HamiltonianDynamics(SeparableHNN(dim)),
    }
    if find_spec("torchdiffeq"):
        for name, method in {"Euler": "euler", "midpoint": "midpoint", "RK4": "rk4"}.items():
            models[f"torchdiffeq, {name}"] = Solver(hnn, method)
    models = {name: model.to(device) for name, model in models.items()}
    leapfrog = models["HNN"]
    if compiled := compiled_rollout(leapfrog, dim, device):
        models["HNN, compiled"] = compiled
    if torch.device(device).type == "cuda":
        models |= {"HNN, graphed": graphed_rollout(leapfrog), "MLP, graphed": graphed_rollout(mlp)}
    if jax_peer.usable(device):
        models |= {
            "HNN, JAX": Fast(jax_peer.rollout_of(leapfrog)),
            "MLP, JAX": Fast(jax_peer.rollout_of(mlp)),
        }
    return models


def milliseconds_per_step(models, z0, n_steps, *, rounds):
    """A rollout without gradients, divided by its steps: {name: model} → {name: (rounds)}."""
    with torch.no_grad():
        calls = {name: partial(model.rollout, z0, n_steps) for name, model in models.items()}
        return {name: 1e3 * s / n_steps for name, s in seconds(calls, rounds=rounds).items()}


def milliseconds_per_update(models, windows, *, rounds):
    """One update on windows (B, T, D), loss, derivatives, clipping, AdamW: {name: model} → {name: (rounds)}.

    A stack of models is given the windows once for each of them.
    """
    calls = {name: update_call(model, windows) for name, model in models.items()}
    return {name: 1e3 * s for name, s in seconds(calls, rounds=rounds).items()}


def update_call(model, windows):
    """A function without arguments: one update as `fit` makes it, but never recorded; the losses, (3, …)."""
    return partial(updates_of(model).update, windows_for(model, windows), 0.5)


def updates_of(model):
    """`Updates` with the rates of table 1."""
    clip = clip_each if isinstance(model, Stacked) else clip_grad_norm_
    return Updates(model, rollout_loss, clip, lr=1e-3, weight_decay=1e-5, max_norm=1.0)


def windows_for(model, windows):
    """The windows, once for each model of a stack."""
    if isinstance(model, Stacked):
        return windows.expand(len(next(model.parameters())), *windows.shape)
    return windows


def growth(values, device, *, batch=32, dim=1024, horizon=3, rounds=5):
    """Median ms per step of leapfrog and MLP while one of `values`' lists varies.

    {quantity: values} → {quantity: {value: {model: ms}}}.
    """
    usual, grown = {"batch": batch, "dim": dim, "horizon": horizon}, {}
    for quantity, settings in values.items():
        grown[quantity] = {}
        for value in settings:
            setting = usual | {quantity: value}
            models = {
                "HNN": HamiltonianDynamics(HNN(setting["dim"])),
                "MLP": BaselineMLP(setting["dim"]),
            }
            models = {name: model.to(device) for name, model in models.items()}
            generator = torch.Generator().manual_seed(0)
            z0 = torch.randn(setting["batch"], setting["dim"], generator=generator).to(device)
            measured = milliseconds_per_step(models, z0, setting["horizon"], rounds=rounds)
            grown[quantity][value] = {name: float(np.median(ms)) for name, ms in measured.items()}
    return grown


def multiply_adds(dim):
    """Multiply–adds of one leapfrog step of the paper's `HNN` and of one step of its MLP, per state.

    Each of the three stages runs the hidden layers forward and back, one half of the first layer
    back, and that half forward again for what has moved.
    """
    widths = (512, 512, 256)
    stage = 2 * sum(a * b for a, b in pairwise(widths)) + 2 * (dim // 2) * widths[0]
    return {"HNN": 3 * stage, "MLP": 2 * dim * 512 + 512 * 512}
