"""Predictors of the next latents, all with one `rollout(z0, n_steps)`: (…, D) → (…, n_steps + 1, D)."""

import copy
import json
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

from . import integrators
from .fast_rollout import SplitRollout
from .files import write_json
from .hamiltonian import HNN, SavedModel, SeparableHNN, check_width
from .integrators import SPLITTINGS, leapfrog_step, repeat, rollout, warn_if_joint

DT_RANGE = (0.1, 2.0)


class HamiltonianDynamics(nn.Module):
    """A Hamiltonian moved by a step with a learnable dt, clamped to [0.1, 2.0] (§3.3).

    dt is counted in embeddings. Only its product with the scale of H is determined by data:
    H → cH with dt → dt/c leaves every trajectory as it is.
    """

    def __init__(self, hamiltonian, step=leapfrog_step, dt=1.0):
        super().__init__()
        if not DT_RANGE[0] <= dt <= DT_RANGE[1]:
            raise ValueError(f"dt must lie in {DT_RANGE}, got {dt}")
        self.hamiltonian, self.step = hamiltonian, step
        self.dt = nn.Parameter(torch.tensor(float(dt)))

    @property
    def clamped_dt(self):
        return self.dt.clamp(*DT_RANGE)

    def rollout(self, z0, n_steps):
        return rollout(self.step, self.hamiltonian, z0, self.clamped_dt, n_steps)

    def energy(self, z):
        """The learned H: (…, D) → (…), in arbitrary units."""
        return self.hamiltonian(z)

    def rollout_with_energy(self, z0, n_steps):
        """What training needs, (B, D) → (B, n_steps + 1, D) and (B, n_steps + 1), differentiable once.

        An `HNN`'s energies and derivatives share the products of its rollout.
        """
        if type(self.hamiltonian) is HNN and self.step in SPLITTINGS:
            check_width(z0, self.hamiltonian.latent_dim)
            if self.step is leapfrog_step:
                warn_if_joint(self.hamiltonian)
            parameters = self.hamiltonian.parameters()
            return SplitRollout.apply(z0, self.clamped_dt, SPLITTINGS[self.step], n_steps, *parameters)
        states = HamiltonianDynamics.rollout(self, z0, n_steps)  # a subclass may see other coordinates
        return states, self.hamiltonian(states)

    def under(self, step):
        """A copy under another step, with the same H and dt; not compiled."""
        other = copy.deepcopy(self)
        other.step = step
        for compiled in ("rollout", "rollout_with_energy"):  # by `compile_rollouts`, for the old step
            vars(other).pop(compiled, None)
        return other

    def save_pretrained(self, folder):
        """Save the network with its step and dt; `HNN.from_pretrained(folder)` reads an `HNN` alone.

        Raises `ValueError` for what `from_pretrained` could not build again.
        """
        if type(self) is not HamiltonianDynamics or type(self.hamiltonian) not in (HNN, SeparableHNN):
            kinds = f"{type(self).__name__} of {type(self.hamiltonian).__name__}"
            raise ValueError(f"{kinds} cannot be saved here: save its state_dict with safetensors")
        self.hamiltonian.save_pretrained(folder)
        kind = type(self.hamiltonian).__name__
        dynamics = {"hamiltonian": kind, "step": self.step.__name__, "dt": self.dt.item()}
        write_json(Path(folder) / "dynamics.json", dynamics)

    @classmethod
    def from_pretrained(cls, folder):
        """Load what `save_pretrained` wrote. Raises `FileNotFoundError` if it is not there."""
        dynamics = json.loads((Path(folder) / "dynamics.json").read_text())
        kind = {"HNN": HNN, "SeparableHNN": SeparableHNN}[dynamics.get("hamiltonian", "HNN")]
        loaded = cls(kind.from_pretrained(folder), getattr(integrators, dynamics["step"]))
        loaded.dt.data.fill_(dynamics["dt"])  # learned, so it may lie outside the clamp
        return loaded


class BaselineMLP(nn.Module, SavedModel):
    """The paper's baseline ẑ_{t+1} = f(z_t), a ReLU MLP (eq. 8); 1,312,768 parameters at D = 1024.

    `residual=True` predicts the change instead, ẑ_{t+1} = z_t + f(z_t), as every Hamiltonian step does.
    """

    def __init__(self, latent_dim=1024, hidden_dims=(512, 512), residual=False):
        super().__init__()
        self.latent_dim, self.residual = latent_dim, residual
        widths = (latent_dim, *hidden_dims)
        hidden = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.network = nn.Sequential(*hidden, nn.Linear(widths[-1], latent_dim))

    def forward(self, z):
        """One step: (…, D) → (…, D)."""
        change = self.network(check_width(z, self.latent_dim))
        return z + change if self.residual else change

    def rollout(self, z0, n_steps):
        return repeat(self, z0, n_steps)


class Persistence(nn.Module):
    """The floor that any predictor must beat: ẑ_t = z_0."""

    def rollout(self, z0, n_steps):
        return repeat(lambda z: z, z0, n_steps)


class TrainingMean(nn.Module):
    """The other floor: ẑ_t is the mean training latent, whatever z_0 is."""

    def __init__(self, mean):
        super().__init__()
        self.register_buffer("mean", mean)

    def rollout(self, z0, n_steps):
        return repeat(lambda z: self.mean.expand_as(z), z0, n_steps)
