"""Several models of one architecture as one, to be trained together."""

import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from ..dynamics.baselines import BaselineMLP, NeuralODE
from ..dynamics.fast_rollout import SplitRollout
from ..dynamics.hamiltonian import HNN, SeparableHNN
from ..dynamics.predictors import DT_RANGE, HamiltonianDynamics


def stack(models):
    """`Stacked` models. Raises `ValueError` if there is none or they are not of one kind and size."""
    if len({_kind(model) for model in models}) != 1:
        raise ValueError(f"{len(models)} models of one kind and size are needed to train them together")
    return (StackedDynamics if isinstance(models[0], HamiltonianDynamics) else Stacked)(models)


def can_stack(model):
    """Whether torch.func's transforms take this kind of model.

    Not an implicit step, which asks whether it has converged, nor gradients of H by autograd.
    """
    if type(model) is HamiltonianDynamics:
        closed_form = type(model.hamiltonian) in (HNN, SeparableHNN)
        return closed_form and not model.step.implicit
    return type(model) in (BaselineMLP, NeuralODE)


def _kind(model):
    """What must agree: the classes, their plain attributes such as `residual`, shapes, what is frozen."""
    parts = [
        (type(part), *((k, v) for k, v in sorted(vars(part).items()) if isinstance(v, int | float | str)))
        for part in model.modules()
    ]
    shapes = ((name, tuple(p.shape), p.dtype, p.requires_grad) for name, p in model.named_parameters())
    return (*parts, getattr(model, "step", None), *shapes)


class Stacked(nn.Module):
    """S models as one with parameters (S, …); `rollout`: (S, B, D) → (S, B, n_steps + 1, D)."""

    def __init__(self, models):
        super().__init__()
        self._template = (models[0],)  # in a tuple, so that its own parameters are not this module's
        parameters, self._buffers_of = stack_module_state(models)
        self._names = list(parameters)
        learns = {name: p.requires_grad for name, p in models[0].named_parameters()}
        for name, parameter in parameters.items():
            own = nn.Parameter(parameter.detach(), requires_grad=learns[name])
            self.register_parameter(name.replace(".", "_"), own)

    def rollout(self, z0, n_steps):
        return self._each("rollout", z0, n_steps)

    def _each(self, method, z0, n_steps):
        """`method(z0, n_steps)` of every model."""
        caller = _Caller(self._template[0], method)
        state = dict(zip(self._names, self.parameters(), strict=True)) | self._buffers_of
        state = {f"model.{name}": tensor for name, tensor in state.items()}
        return vmap(lambda own, z: functional_call(caller, own, (z, n_steps)))(state, z0)

    @torch.no_grad()
    def copy_to(self, models):
        """Give each of the S models its own parameters."""
        for index, model in enumerate(models):
            for mine, stacked in zip(model.parameters(), self.parameters(), strict=True):
                mine.copy_(stacked[index])


class StackedDynamics(Stacked):
    """S `HamiltonianDynamics`; energies are (S, B, n_steps + 1)."""

    dt: nn.Parameter  # (S,)

    @property
    def clamped_dt(self):
        return self.dt.clamp(*DT_RANGE)

    def rollout_with_energy(self, z0, n_steps):
        template = self._template[0]
        if not (template.hamiltonian.network_parameters() and template.step.stages):
            return self._each("rollout_with_energy", z0, n_steps)
        dt = self.clamped_dt.view(-1, 1, 1)
        network = [p for name, p in self.named_parameters() if name != "dt"]
        return SplitRollout.apply(z0, dt, template.step.stages, n_steps, *network)


class _Caller(nn.Module):
    """`functional_call` calls modules only: this one calls a method of another."""

    def __init__(self, model, method):
        super().__init__()
        self.model, self.method = model, method

    def forward(self, *args):
        return getattr(self.model, self.method)(*args)


def clip_each(parameters, max_norm):
    """`clip_grad_norm_` for every model of a stack on its own."""
    norms = torch.stack([p.grad.reshape(len(p), -1).norm(dim=1) for p in parameters]).norm(dim=0)
    scale = (max_norm / (norms + 1e-6)).clamp(max=1.0)
    for parameter in parameters:
        parameter.grad.mul_(scale.view(-1, *[1] * (parameter.ndim - 1)))
