"""Training as it is measured: updates, fifty epochs, and several seeds at once."""

import copy
import time
from functools import partial

import torch

from ...dynamics.baselines import BaselineMLP
from ...dynamics.hamiltonian import HNN
from ...dynamics.predictors import HamiltonianDynamics
from ...experiment.ensemble import stack
from ...experiment.training import fit
from ...runs.hardware import seeded
from . import benchmark, jax_peer
from .measure_record import compared

OURS, MLP = "HNN", "MLP"


def updates(record, into):
    """One update as `fit` makes it, loss, derivatives, clipping and AdamW, for every batch size."""
    settings = record.settings
    for batch in settings["batches"]:
        shape = (batch, settings["n_steps"] + 1, settings["dim"])
        windows = torch.randn(shape, generator=torch.Generator().manual_seed(settings["seed"]))
        calls = _updates(record, windows.to(record.device))
        losses = {name: record.attempt(f"two updates, {name}", _two, call) for name, call in calls.items()}
        row = into[f"batch {batch}"] = {"first two losses": losses}
        record.say(f"batch {batch}: all have begun")
        row |= compared(record.timed(f"update, {batch}", {n: c for n, c in calls.items() if losses[n]}), MLP)
        record.save()


def _updates(record, windows):
    """{name: function without arguments that makes one update}; all leapfrogs start from the same weights."""
    hnn, mlp = trainable(record.settings, record.device)
    published = HamiltonianDynamics(benchmark.AutogradHNN(copy.deepcopy(hnn.hamiltonian))).to(record.device)
    plain = {"HNN, autograd": published, OURS: copy.deepcopy(hnn), MLP: copy.deepcopy(mlp)}
    calls = {name: benchmark.update_call(model, windows) for name, model in plain.items()}
    for name, model in {OURS: hnn, MLP: mlp}.items():
        if record.device.type == "cuda":
            arguments = (copy.deepcopy(model), windows)
            calls[f"{name}, graphed"] = record.attempt(f"graph of {name}", recorded_call, *arguments)
        if jax_peer.usable(record.device):
            calls[f"{name}, JAX"] = record.attempt(f"jax, {name}", jax_peer.update_call, model, windows)
    if record.device.type == "cuda" and len(windows) == 32:
        name = f"{OURS}, compiled and graphed"
        calls[name] = record.attempt(name, recorded_call, compiled(hnn), windows, needs=120)
    return {name: call for name, call in calls.items() if call}


def trainable(settings, device):
    """HNN and MLP at their published initial weights."""
    with seeded(settings["seed"]):
        hnn, mlp = HamiltonianDynamics(HNN(settings["dim"])), BaselineMLP(settings["dim"])
    return hnn.to(device), mlp.to(device)


def compiled(model):
    """A copy whose training is compiled: the plain states and energies, differentiated by autograd."""
    model = copy.deepcopy(model)

    def with_energy(z0, n_steps):
        states = model.rollout(z0, n_steps)
        return states, model.energy(states)

    model.rollout_with_energy = torch.compile(with_energy, dynamic=False)
    return model


def recorded_call(model, windows):
    """A function without arguments: one update as `fit` makes it on a GPU, recorded."""
    windows, weight = benchmark.windows_for(model, windows), torch.tensor(0.5, device=windows.device)
    call = partial(benchmark.updates_of(model).run, windows, weight)
    call()
    return call


def _two(call):
    """The losses before and after a first update: the second depends on the derivatives."""
    return [float(call()[0]) for _ in range(2)]


def ten_seeds(record, into):
    """One update of several models stacked, of each in turn, and of one alone; on a GPU graphs, too."""
    settings, n = record.settings, record.settings["n_seeds"]
    generator = torch.Generator().manual_seed(settings["seed"])
    shape = (32, settings["n_steps"] + 1, settings["dim"])
    windows = torch.randn(shape, generator=generator).to(record.device)
    for name, index in ((OURS, 0), (MLP, 1)):
        models = [trainable(settings | {"seed": seed}, record.device)[index] for seed in range(n)]
        one_by_one = [benchmark.update_call(copy.deepcopy(model), windows) for model in models]
        calls = {
            "one": benchmark.update_call(copy.deepcopy(models[0]), windows),
            f"{n} stacked": benchmark.update_call(stack(models), windows),
            f"{n} in turn": lambda updates=one_by_one: [update() for update in updates],
        }
        for key, model in {"one": copy.deepcopy(models[0]), f"{n} stacked": stack(models)}.items():
            if record.device.type == "cuda":
                call = record.attempt(f"graph of {name}, {key}", recorded_call, model, windows)
                calls |= {f"{key}, graphed": call} if call else {}
        into[name] = compared(record.timed(f"ten_seeds, {name}", calls), "one")
        record.save()


def fifty_epochs(record, into):
    """Seconds of `fit` at the paper's size."""
    settings, generator = record.settings, torch.Generator().manual_seed(record.settings["seed"])
    shape = (settings["n_steps"] + 1, settings["dim"])
    windows = [torch.randn(n, *shape, generator=generator).to(record.device) for n in settings["n_windows"]]
    for n_epochs in settings["n_epochs"]:
        row = into[f"{n_epochs} epochs"] = {}
        for name, model in zip((OURS, MLP), trainable(settings, record.device), strict=True):
            options = {"n_epochs": n_epochs, "seed": settings["seed"]}
            row[name] = record.attempt(f"{n_epochs} epochs, {name}", _fit, model, *windows, options)
            record.save()


def _fit(model, train, test, options):
    begin = time.perf_counter()
    history = fit(model, train, test, **options)
    return {"seconds": time.perf_counter() - begin, "last loss": history[-1]["loss"]}
