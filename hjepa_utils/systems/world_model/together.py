"""Many trainings of one architecture at once: a step of twenty small networks costs little more than one."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from ...experiment.ensemble import clip_each
from ...runs.checkpoints import resumable
from ...runs.fingerprint import hash_code, hash_tensors
from ...runs.hardware import one_thread
from .training import (
    DynamicsSettings,
    check_windows,
    draw_later,
    draw_windows,
    dynamics_loss,
    horizon_at,
    one_cycle,
)


@dataclass(frozen=True)
class Lesson:
    """What one training is given, as `fit_dynamics` takes it."""

    dynamics: nn.Module
    momentum: nn.Module
    places: torch.Tensor
    actions: torch.Tensor
    seed: int


def fit_together(lessons, *, checkpoint=None, label="dynamics", **settings):
    """`fit_dynamics` for every `Lesson`, side by side; dynamics and heads must be of one architecture.

    Each is trained as it would be alone, to rounding: on its own windows, by its own seed, its gradient
    clipped by itself. Returns a list with a dict per step: loss, one a lesson, and lr. Raises as
    `fit_dynamics` does.
    """
    settings, laws = DynamicsSettings(**settings), [_Law(one.dynamics, one.momentum) for one in lessons]
    before = laws[0].momentum.n_frames
    for one in lessons:
        check_windows(one.places, one.actions, before + max(settings.horizons))
    with one_thread():
        return _train(lessons, laws, settings, checkpoint, label)


def _train(lessons, laws, settings, checkpoint, label):
    together = _Together(laws)
    optimiser = torch.optim.Adam(together.parameters(), settings.lr)
    history, made_from, file = [], {}, None
    if checkpoint:
        file = Path(checkpoint) / "together.safetensors"
        made_from = _made_from(lessons, laws, settings)
    for step in resumable(
        file, settings.n_steps, fingerprint=made_from, history=history, modules={"laws": together},
        optimisers={"Adam": optimiser}, every=50, label=label, shown=("loss",),
    ):  # fmt: skip
        lr = optimiser.param_groups[0]["lr"] = one_cycle(step, settings.n_steps, settings.lr)
        losses = together(_batches(lessons, step, settings), settings)
        if not losses.isfinite().all():
            lost = [lessons[k].seed for k in (~losses.isfinite()).nonzero().flatten().tolist()]
            raise ValueError(f"{label}: the loss of step {step} is not finite for seeds {lost}: lower lr")
        optimiser.zero_grad()
        losses.sum().backward()
        clip_each([p for p in together.parameters() if p.grad is not None], 1.0)  # V's level moves nothing
        optimiser.step()
        history.append({"loss": losses.tolist(), "lr": lr})
    together.copy_to(laws)
    return history


def _batches(lessons, step, settings):
    """Windows of every lesson and where momenta are read again, drawn as `fit_dynamics` draws them."""
    horizon, drawn = horizon_at(step, settings), []
    for one in lessons:
        draw = np.random.default_rng([one.seed, step])
        length = one.momentum.n_frames + horizon
        windows = draw_windows(one.places, one.actions, length, settings.batch_size, draw)
        drawn.append((*windows, draw_later(one.momentum, horizon, draw)))
    return [torch.stack(of) for of in zip(*drawn, strict=True)]


def _made_from(lessons, laws, settings):
    return asdict(settings) | {
        "seeds": [one.seed for one in lessons],
        "the model or its code": hash_code(laws[0]),
        "the initial weights": [hash_tensors(law.state_dict()) for law in laws],
        "the data": [hash_tensors({"places": one.places, "actions": one.actions}) for one in lessons],
        "the code of the training": hash_code(fit_together),
    }


class _Law(nn.Module):
    """Dynamics and momentum head, as what gives a batch its loss."""

    def __init__(self, dynamics, momentum):
        super().__init__()
        self.dynamics, self.momentum = dynamics, momentum

    def forward(self, q, u, later, settings):
        return dynamics_loss(self.dynamics, self.momentum, q, u, settings, later)


class _Together(nn.Module):
    """Laws as one, with parameters (n_laws, …); batches (n_laws, B, …) → losses (n_laws,)."""

    def __init__(self, laws):
        super().__init__()
        shapes = {tuple((name, tuple(p.shape)) for name, p in law.named_parameters()) for law in laws}
        if len(shapes) != 1:
            raise ValueError(f"{len(laws)} laws of one architecture are needed to train them together")
        self._template = (laws[0],)  # in a tuple, so that its own parameters are not this module's
        parameters, self._buffers_of = stack_module_state(laws)
        self._names = list(parameters)
        self.stacked = nn.ParameterList([nn.Parameter(tensor.detach()) for tensor in parameters.values()])

    def forward(self, batches, settings):
        def loss(own, q, u, later):
            return functional_call(self._template[0], own, (q, u, later, settings))

        own = dict(zip(self._names, self.stacked, strict=True)) | self._buffers_of
        return vmap(loss)(own, *batches)

    @torch.no_grad()
    def copy_to(self, laws):
        for index, law in enumerate(laws):
            for mine, stacked in zip(law.parameters(), self.stacked, strict=True):
                mine.copy_(stacked[index])
