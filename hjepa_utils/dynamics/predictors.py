"""Predictors of the next latents, all with one `rollout(z0, n_steps)`: (…, D) → (…, n_steps + 1, D)."""

import copy
import json
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils.parametrizations import orthogonal

from ..runs.files import write_json
from . import integrators
from .fast_rollout import SplitRollout
from .hamiltonian import HNN, SeparableHNN, check_width
from .integrators import SPLITTINGS, leapfrog_step, rollout, warn_if_joint

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


class RotatedDynamics(HamiltonianDynamics):
    """A learned canonicalisation: Hamilton's equations for z O, with an orthogonal O trained jointly.

    O starts as the identity, so as the paper's partition.
    """

    def __init__(self, hamiltonian, latent_dim, step=leapfrog_step, dt=1.0):
        super().__init__(hamiltonian, step, dt)
        self.rotation = orthogonal(nn.Linear(latent_dim, latent_dim, bias=False))
        self.rotation.weight = torch.eye(latent_dim)

    def rollout(self, z0, n_steps):
        rotation = self.rotation.weight
        return super().rollout(z0 @ rotation, n_steps) @ rotation.T

    def energy(self, z):
        return self.hamiltonian(z @ self.rotation.weight)

    def rollout_with_energy(self, z0, n_steps):
        rotation = self.rotation.weight
        states, energies = super().rollout_with_energy(z0 @ rotation, n_steps)
        return states @ rotation.T, energies


class SubstepDynamics(HamiltonianDynamics):
    """`substeps` steps of dt / substeps between neighbouring embeddings."""

    def __init__(self, hamiltonian, substeps, step=leapfrog_step, dt=1.0):
        super().__init__(hamiltonian, step, dt)
        self.substeps = substeps

    @property
    def clamped_dt(self):
        return super().clamped_dt / self.substeps

    def rollout(self, z0, n_steps):
        return super().rollout(z0, n_steps * self.substeps)[..., :: self.substeps, :]

    def rollout_with_energy(self, z0, n_steps):
        states, energies = super().rollout_with_energy(z0, n_steps * self.substeps)
        return states[..., :: self.substeps, :], energies[..., :: self.substeps]
