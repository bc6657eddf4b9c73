"""`ContactLatents`: latents predicted by the bodies behind them."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from ...dynamics.hamiltonian import check_state
from ...dynamics.integrators import check_n_steps
from .inversion import find_states, weights
from .readout import BodyReadout, frames_seen


class ContactLatents(nn.Module):
    """z_0 → the likeliest states, moved by contact dynamics, read out: (…, D) → (…, n_steps + 1, D).

    `dynamics` is a `ContactDynamics` per frame, `readouts` those of clips (their mean is taken), `guess` maps
    z to a state to start from. The prediction is the mean over states, weighted by how well each explains
    z_0. Searches draw random starts from `seed`, so that a rollout is the same every time.
    """

    def __init__(self, dynamics, readouts, guess, *, seed=0, n_starts=24, n_kept=6):
        super().__init__()
        self.dynamics, self.guess = dynamics, guess
        self.readouts = cast(Sequence[BodyReadout], nn.ModuleList(readouts))
        self.seed, self.n_starts, self.n_kept = seed, n_starts, n_kept
        self.requires_grad_(False).eval()

    def states(self, z0):
        """States (n_kept, n, D_state) behind z0 (n, D), best first, and their residuals (n_kept, n)."""
        generator = torch.Generator().manual_seed(self.seed)
        options = {"generator": generator, "n_starts": self.n_starts, "n_kept": self.n_kept}
        return find_states(self.dynamics, list(self.readouts), z0, self.guess, list(frames_seen()), **options)

    def rollout(self, z0, n_steps):
        check_n_steps(n_steps)
        flat = check_state(z0).reshape(-1, z0.shape[-1])
        states, residuals = self.states(flat)
        with torch.no_grad():
            path = self.dynamics.states_at(states, list(frames_seen(n_clips=n_steps + 1)))
            read = torch.stack([readout.of_windows(path) for readout in self.readouts]).mean(dim=0)
            predicted = (weights(residuals)[..., None, None] * read).sum(dim=0)
        predicted[:, 0] = flat  # it is given
        return predicted.reshape(*z0.shape[:-1], n_steps + 1, z0.shape[-1])

    def energy(self, z):
        """The energy of the likeliest state behind z, as `ContactDynamics.energy`: (…, D) → (…)."""
        states, _ = self.states(z.reshape(-1, z.shape[-1]))
        return self.dynamics.energy(states[0]).reshape(z.shape[:-1])
