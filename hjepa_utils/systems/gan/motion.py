"""What moves a generator's motion vector from frame to frame: the one thing that the models exchange.

Each is `forward(noise, n_frames, speed=1.0)`: (B, D) → (B, n_frames, D). `speed` is the time between two
frames in units of the one it was trained with.
"""

import torch
from torch import nn

from ...dynamics.integrators import in_own_precision, leapfrog_step, rollout
from ...dynamics.step import as_step
from ...simulators.checks import check_count, check_positive


class GRUMotion(nn.Module):
    """MoCoGAN's: a GRU whose first input is a noise vector, and every later one its own last output.

    Its outputs are normalised over batch and time, as in the public version that the paper compares with.
    Raises `ValueError` for another `speed` than 1: the GRU knows no time between its steps.
    """

    def __init__(self, motion_dim=20, hidden_dim=100):
        super().__init__()
        self.cell, self.read = nn.GRUCell(motion_dim, hidden_dim), nn.Linear(hidden_dim, motion_dim)
        self.normalise = nn.BatchNorm1d(motion_dim, affine=False)
        start_weights(self)

    @in_own_precision
    def forward(self, noise, n_frames, speed=1.0):
        if speed != 1:
            raise ValueError(f"a GRU moves by its own time step only, got {speed} of it: use a Hamiltonian")
        said, hidden, states = noise, noise.new_zeros(len(noise), self.cell.hidden_size), []
        for _ in range(check_frames(n_frames)):
            hidden = self.cell(said, hidden)
            said = self.read(hidden)
            states.append(said)
        states = torch.stack(states, dim=1)
        return self.normalise(states.flatten(0, 1)).reshape(states.shape)


class HamiltonianMotion(nn.Module):
    """Hamilton's equations from z₀ = start(noise) on, z = (q, p).

    `hamiltonian` and `step` are any of `dynamics`; the paper's are a joint H(q, p) and the leapfrog, which is
    not symplectic for such an H. `start` is the identity in HNN-GAN and a `ConfigurationMap` in HGAN.
    `frame_time` is the time between two frames: only its product with the scale of H matters, so it says how
    far a fresh H moves a state (the paper's 0.05 hardly does). `normalise` keeps z₀ at mean 0 and deviation 1
    over the batch, without which videos come out all alike.
    """

    def __init__(self, hamiltonian, start=None, step=leapfrog_step, *, frame_time=0.5, normalise=True):
        super().__init__()
        check_positive(frame_time=frame_time)
        self.hamiltonian, self.start, self.step = hamiltonian, start or nn.Identity(), as_step(step)
        self.frame_time = float(frame_time)
        width = hamiltonian.latent_dim
        self.normalise = nn.BatchNorm1d(width, affine=False) if normalise else nn.Identity()
        start_weights(hamiltonian)

    @in_own_precision
    def forward(self, noise, n_frames, speed=1.0):
        z0 = self.normalise(self.start(noise))
        return rollout(self.step, self.hamiltonian, z0, self.frame_time * speed, check_frames(n_frames) - 1)

    @in_own_precision
    def momentum_rates(self, states):
        """ṗ = -∂H/∂q: (…, D) → (…, D/2)."""
        return -self.hamiltonian.gradient_q(states)

    @in_own_precision
    def energy(self, states):
        """The learned H: (…, D) → (…)."""
        return self.hamiltonian(states)


class ConfigurationMap(nn.Sequential):
    """The paper's f: noise (B, D) → z₀ (B, D), two hidden layers."""

    def __init__(self, motion_dim=20, hidden_dim=100):
        super().__init__(
            nn.Linear(motion_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, hidden_dim), nn.ReLU(),
            nn.Linear(hidden_dim, motion_dim),
        )  # fmt: skip
        start_weights(self)


def start_weights(module):
    """Xavier-uniform weights for linear layers, as the public code has: an `HNN`'s own start is still."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)


def check_frames(n_frames):
    check_count(n_frames=n_frames)
    return n_frames
