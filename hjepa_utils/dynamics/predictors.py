"""Predictors of the next latents with an energy: `rollout(z0, n_steps)`, (…, D) → (…, n_steps + 1, D)."""

import copy
import math
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils.parametrizations import orthogonal

from ..runs.checks import whole_number
from ..runs.files import write_json
from .entities import EntityHamiltonian
from .fast_rollout import SplitRollout
from .hamiltonian import HNN, SeparableHNN, check_state
from .implicit import implicit_midpoint_step, stormer_verlet_step
from .integrators import (
    check_n_steps,
    driven_rollout,
    euler_step,
    in_own_precision,
    leapfrog_step,
    rk4_step,
    rollout,
    tao_step,
)
from .saved import DYNAMICS, read_config
from .step import as_step

DT_RANGE = (0.1, 2.0)
STEPS = {
    step.name: step
    for step in (
        leapfrog_step, euler_step, rk4_step, implicit_midpoint_step, stormer_verlet_step, tao_step,
    )
}  # fmt: skip
ENERGIES = {"HNN": HNN, "SeparableHNN": SeparableHNN, "EntityHamiltonian": EntityHamiltonian}


class NotSymplecticWarning(UserWarning):
    """A step is used for a Hamiltonian for which it is of lower order and not symplectic."""


class Dynamics(nn.Module):
    """A Hamiltonian, a step and a learnable dt, clamped to [0.1, 2.0] (§3.3); subclasses roll out.

    dt is counted in embeddings. Only its product with the scale of H is determined by data:
    H → cH with dt → dt/c leaves every trajectory as it is. The leapfrog with an H that does not
    declare itself `separable` is the paper's choice, and says so once by a `NotSymplecticWarning`.
    """

    def __init__(self, hamiltonian, step=leapfrog_step, dt: float = 1.0):
        super().__init__()
        try:
            inside = DT_RANGE[0] <= float(dt) <= DT_RANGE[1]
        except (TypeError, ValueError, RuntimeError):  # no number, or a tensor of several
            inside = False
        if not inside:
            raise ValueError(f"dt must lie in {DT_RANGE}, got {dt}")
        self.hamiltonian, self.step = hamiltonian, as_step(step)
        self.dt = nn.Parameter(torch.tensor(float(dt)))
        if self.step.joint_order != self.step.order and not hamiltonian.separable:
            warnings.warn(
                f"{self.step} is symplectic, second order and reversible only for H = T(p) + V(q), which "
                "this Hamiltonian does not declare (`separable`): use stormer_verlet_step or "
                "implicit_midpoint_step.",
                NotSymplecticWarning,
                stacklevel=2,
            )

    @property
    def clamped_dt(self):
        """The time between two embeddings."""
        return self.dt.clamp(*DT_RANGE)

    @property
    def step_dt(self):
        """The time of one step."""
        return self.clamped_dt

    @in_own_precision
    def energy(self, z):
        """The learned H: (…, D) → (…), in arbitrary units."""
        return self.hamiltonian(z)

    def under(self, step):
        """A copy under another step, with the same H and dt."""
        other = copy.deepcopy(self)
        other.step = as_step(step)
        return other


class HamiltonianDynamics(Dynamics):
    """Hamilton's equations for z alone, z = (q, p); see `Dynamics`."""

    @in_own_precision
    def rollout(self, z0, n_steps):
        return rollout(self.step, self.hamiltonian, z0, self.step_dt, n_steps)

    @in_own_precision
    def rollout_with_energy(self, z0, n_steps):
        """What training needs, (…, D) → (…, n_steps + 1, D) and (…, n_steps + 1), differentiable once.

        An `HNN`'s energies and derivatives share the products of its rollout.
        """
        parameters = self.hamiltonian.network_parameters()
        if not (parameters and self.step.stages):
            states = rollout(self.step, self.hamiltonian, z0, self.step_dt, n_steps)
            return states, self.hamiltonian(states)
        check_n_steps(n_steps)
        flat = check_state(z0, self.hamiltonian.latent_dim, like=parameters[0]).reshape(-1, z0.shape[-1])
        states, energies = SplitRollout.apply(flat, self.step_dt, self.step.stages, n_steps, *parameters)
        shape = (*z0.shape[:-1], n_steps + 1)
        return states.reshape(*shape, z0.shape[-1]), energies.reshape(shape)

    def save_pretrained(self, folder):
        """Save the network with its step and dt; `HNN.from_pretrained(folder)` reads an `HNN` alone.

        Raises `ValueError` before anything is written for what `from_pretrained` could not build again.
        """
        kind, step = type(self.hamiltonian).__name__, self.step
        known = ENERGIES.get(kind) is type(self.hamiltonian)
        if type(self) is not HamiltonianDynamics or not known:
            raise ValueError(
                f"{type(self).__name__} of {kind} cannot be saved here: save its state_dict with safetensors"
            )
        if STEPS.get(step.name) is not step:
            raise ValueError(f"the step {step} cannot be saved, only {', '.join(STEPS)}")
        if not math.isfinite(self.dt.item()):
            raise ValueError(f"dt is {self.dt.item()}, so this model cannot be saved: train it again")
        self.hamiltonian.save_pretrained(folder)
        dynamics = {"hamiltonian": kind, "step": step.name, "dt": self.dt.item()}
        write_json(Path(folder).expanduser() / DYNAMICS, dynamics)

    @classmethod
    def from_pretrained(cls, folder):
        """Load what `save_pretrained` wrote.

        Raises `FileNotFoundError` if it is not there, `ValueError` if it is damaged.
        """
        file = Path(folder).expanduser() / DYNAMICS
        if not file.is_file():
            raise FileNotFoundError(f"no saved dynamics in {folder}")
        saved = {"hamiltonian": "HNN"} | read_config(file)
        kind, step, dt = ENERGIES.get(saved["hamiltonian"]), STEPS.get(saved.get("step")), saved.get("dt")
        if kind is None or step is None or not isinstance(dt, float | int) or not math.isfinite(dt):
            raise ValueError(f"{file} is damaged ({saved}): save the model again")
        loaded = cls(kind.from_pretrained(folder), step)
        parameter = next(loaded.hamiltonian.parameters())
        loaded.dt.data = torch.tensor(float(dt), dtype=parameter.dtype)  # may lie outside the clamp
        return loaded


class DrivenDynamics(Dynamics):
    """Actions u as forces G u on p, each held over one embedding: `rollout(z0, actions)`.

    `control` maps actions to forces, (…, A) → (…, D/2): a matrix G as `nn.Linear`, or any module.
    """

    def __init__(self, hamiltonian, control, step=leapfrog_step, dt=1.0):
        super().__init__(hamiltonian, step, dt)
        self.control = control

    @in_own_precision
    def rollout(self, z0, actions):
        """z0 (…, D), actions (…, n, A) → (…, n + 1, D)."""
        return driven_rollout(self.step, self.hamiltonian, z0, self.step_dt, self.control(actions))

    @in_own_precision
    def rollout_with_energy(self, z0, actions):
        states = self.rollout(z0, actions)
        return states, self.energy(states)


class RotatedDynamics(HamiltonianDynamics):
    """A learned canonicalisation: Hamilton's equations for z O, with an orthogonal O trained jointly.

    O starts as the identity, so as the paper's partition.
    """

    def __init__(self, hamiltonian, latent_dim, step=leapfrog_step, dt=1.0):
        super().__init__(hamiltonian, step, dt)
        self.rotation = nn.Linear(latent_dim, latent_dim, bias=False)
        orthogonal(self.rotation)
        self.rotation.weight = torch.eye(latent_dim)

    @in_own_precision
    def rollout(self, z0, n_steps):
        rotation = self.rotation.weight
        check_state(z0, len(rotation), like=rotation)
        return super().rollout(z0 @ rotation, n_steps) @ rotation.T

    @in_own_precision
    def energy(self, z):
        rotation = self.rotation.weight
        return self.hamiltonian(check_state(z, len(rotation), like=rotation) @ rotation)

    @in_own_precision
    def rollout_with_energy(self, z0, n_steps):
        rotation = self.rotation.weight
        check_state(z0, len(rotation), like=rotation)
        states, energies = super().rollout_with_energy(z0 @ rotation, n_steps)
        return states @ rotation.T, energies


class SubstepDynamics(HamiltonianDynamics):
    """`substeps` steps of dt / substeps between neighbouring embeddings."""

    def __init__(self, hamiltonian, substeps, step=leapfrog_step, dt=1.0):
        super().__init__(hamiltonian, step, dt)
        self.substeps = whole_number(substeps, "substeps")
        if self.substeps < 1:
            raise ValueError(f"substeps must be 1 or more, got {substeps}")

    @property
    def step_dt(self):
        return self.clamped_dt / self.substeps

    @in_own_precision
    def rollout(self, z0, n_steps):
        check_n_steps(n_steps)
        return super().rollout(z0, n_steps * self.substeps)[..., :: self.substeps, :]

    @in_own_precision
    def rollout_with_energy(self, z0, n_steps):
        check_n_steps(n_steps)
        states, energies = super().rollout_with_energy(z0, n_steps * self.substeps)
        return states[..., :: self.substeps, :], energies[..., :: self.substeps]
