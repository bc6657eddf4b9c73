"""What the latents say and foresee: probes in px, collapse, counterfactuals, distances."""

from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.metrics import r2_score

from ...experiment.probing import ridge_probe
from .networks import fast
from .world import EVENT, FPS, SIZE, UNIT_RADIUS, Sequences, move

_BATCH = 250


class Ends(NamedTuple):
    """Latents where an event begins and where it ends, each (n, width)."""

    shallow: torch.Tensor
    deep: torch.Tensor
    shallow_goal: torch.Tensor
    deep_goal: torch.Tensor


class Probe:
    """A linear read-out, ridge on standardised latents, with its error in the target's own units."""

    def __init__(self, latents, target):
        """Fitted to latents (n, D) and what is to be read (n, …)."""
        self.shape = target.shape[1:]
        self.fitted = ridge_probe().fit(latents.numpy(), target.reshape(len(target), -1).numpy())

    def read(self, latents):
        """(m, D) → (m, …)."""
        return torch.from_numpy(self.fitted.predict(latents.numpy())).reshape(len(latents), *self.shape)

    def r2(self, latents, target):
        """R², over all numbers of the target with their own variances."""
        flat = (part.reshape(len(target), -1).numpy() for part in (target, self.read(latents)))
        return float(r2_score(*flat, multioutput="variance_weighted"))


@torch.no_grad()
def encode_ends(model, sequences):
    """`Ends` of sequences of 41 frames: the windows that end where the event begins, and at its end."""
    parts = []
    for some in torch.arange(len(sequences.masses)).split(_BATCH):
        positions, masses = sequences.positions[some], sequences.masses[some]
        with fast(model.device):
            now = model.encode(positions[:, : model.window], masses)
            goal = model.encode(positions[:, -model.window :], masses)
        parts.append((*now, *goal))
    return Ends(*(torch.cat(part).cpu() for part in zip(*parts, strict=True)))


@torch.no_grad()
def foreseen(model, ends, forces):
    """Where forces (n, 25, N, 2) lead from `Ends`: shallow latents rolled (n, 26, width), deep (n, width)."""
    with fast(model.device):
        rolled, event = model.rollout(ends.shallow, forces), model.predict_event(ends.deep, forces)
    return rolled.float().cpu(), event.float().cpu()


def place_probes(model, sequences, ends, frames=(1, 5, 10, EVENT)):
    """{tap: `Probe` of places}, fitted to latents as encoded and as predicted, so that it reads both.

    One fitted to encoded latents alone leans on directions that hardly vary; what is predicted is a little
    off in them, and would be read far away.
    """
    now = sequences.states.shape[1] - EVENT - 1
    rolled, event = foreseen(model, ends, sequences.forces[:, now:])
    places, frames = sequences.states[:, now:, :, :2], list(frames)
    shallow = torch.cat([ends.shallow, ends.shallow_goal, *rolled[:, frames].unbind(dim=1)])
    deep = torch.cat([ends.deep, ends.deep_goal, event])
    return {
        "shallow": Probe(shallow, torch.cat([places[:, k] for k in (0, EVENT, *frames)])),
        "deep": Probe(deep, torch.cat([places[:, k] for k in (0, EVENT, EVENT)])),
    }


def truths(states, masses):
    """What a probe may be asked for, of states (n, N, 4): {name: (n, …)}; px, px/s, px²/s²."""
    energy = (0.5 * masses[..., None] * states[..., 2:].square()).sum(dim=(1, 2))[:, None]
    return {"position": states[..., :2], "velocity": states[..., 2:], "mass": masses, "energy": energy}


def off_px(read, true):
    """How far bodies are read from where they are, px: (n, N, 2) twice → (n,), root mean square over them."""
    return (read - true).square().sum(dim=-1).mean(dim=-1).sqrt()


class Spread(NamedTuple):
    """How latents fill their space. A probe's R² and the rank do not see a collapse in size."""

    deviation: float  # mean over dimensions; VICReg asks for 1
    least: float
    n_flat: int  # dimensions with less than 0.1
    covariance: float  # mean square off the diagonal
    rank: float  # exp of the entropy of the covariance matrix' eigenvalues


def spread(latents):
    """`Spread` of latents (n, D)."""
    z = latents.double()
    deviation, matrix = z.std(dim=0), torch.cov(z.T)
    off = matrix - matrix.diagonal().diag()
    share = torch.linalg.eigvalsh(matrix).clamp_min(0)
    share = share / share.sum()
    return Spread(
        deviation.mean().item(),
        deviation.min().item(),
        int((deviation < 0.1).sum()),
        (off.square().sum() / (off.numel() - len(off))).item(),
        torch.special.entr(share).sum().exp().item(),
    )


def beside_persistence(predicted, now, later):
    """Mean square error of a prediction over that of staying as it is; (n, D) each. 1: nothing foreseen."""
    return ((predicted - later).square().mean() / (now - later).square().mean()).item()


def straight_ends(states, masses, forces=None, *, n_frames=EVENT, folded=True):
    """Where bodies would be without meeting each other: (n, N, 4), (n, N) → (n, N, 2).

    After `n_frames`, at constant velocity or under known forces (n, n_frames, N, 2); walls reflect them,
    or (`folded=False`) stop them.
    """
    radii = UNIT_RADIUS * masses.double().sqrt()[..., None]
    ends = states[..., :2] + n_frames / FPS * states[..., 2:]
    if forces is not None:
        left = torch.arange(n_frames, 0, -1, dtype=torch.float64) / FPS**2
        ends = ends + torch.einsum("t,ntbx->nbx", left, forces.double()) / masses.double()[..., None]
    if not folded:
        return torch.minimum(torch.maximum(ends, radii), SIZE - radii)
    span = SIZE - 2 * radii
    return radii + span - ((ends - radii) % (2 * span) - span).abs()


class Counterfactual(NamedTuple):
    """Sequences, and the same starts under other forces: what changes, and what a model says of it."""

    first: Sequences
    other: Sequences


def counterfactual(sequences, *, rng):
    """The same windows, followed by an event under forces of other sequences, drawn without return."""
    now = sequences.states.shape[1] - EVENT - 1
    order = torch.from_numpy(rng.permutation(len(sequences.masses)))
    forces = sequences.forces.clone()
    forces[:, now:] = sequences.forces[order, now:]
    states = sequences.states.clone()
    states[:, now:] = move(states[:, now], sequences.masses, forces[:, now:])
    return Counterfactual(sequences, Sequences(states, sequences.masses, forces))


def change_correlations(predicted, true):
    """Correlation of predicted and true changes of place, per body: (n, N, 2) twice → (N,)."""
    pairs = zip(predicted.unbind(dim=1), true.unbind(dim=1), strict=True)
    return np.array([np.corrcoef(p.flatten(), t.flatten())[0, 1] for p, t in pairs])


def distance_agreement(latents, others, states, other_states):
    """Spearman's rank correlation of latent and true distances of the same pairs; (n, D), (n, N, 4) twice."""
    apart = (latents - others).square().sum(dim=-1)
    true = (states - other_states)[..., :2].square().sum(dim=(1, 2))
    return float(np.asarray(spearmanr(apart.numpy(), true.numpy()))[0])
