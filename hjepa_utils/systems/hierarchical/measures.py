"""What the latents say and foresee: probes in px, collapse, counterfactuals, distances."""

from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.metrics import r2_score

from ...experiment.probing import ridge_probe
from ...runs.checks import whole_number
from ...runs.hardware import fast
from ...simulators.checks import check_generator
from .world import EVENT, FPS, SIZE, UNIT_RADIUS, WINDOW, Sequences, move

_BATCH = 250


class Ends(NamedTuple):
    """Latents where an event begins and where it ends, each (n, width)."""

    shallow: torch.Tensor
    deep: torch.Tensor
    shallow_goal: torch.Tensor
    deep_goal: torch.Tensor


class Probe:
    """A linear read-out, ridge on standardised latents, with its error in the target's own units.

    Raises `ValueError` for latents that are not finite (n, D), and for targets of another number.
    """

    def __init__(self, latents, target):
        """Fitted to latents (n, D) and what is to be read (n, …), both tensors."""
        _check_latents(latents, len(target))
        self.shape = target.shape[1:]
        self.fitted = ridge_probe().fit(latents.numpy(), target.reshape(len(target), -1).numpy())

    def read(self, latents):
        """Latents (m, D) → (m, …), in the target's units."""
        _check_latents(latents)
        return torch.from_numpy(self.fitted.predict(latents.numpy())).reshape(len(latents), *self.shape)

    def r2(self, latents, target):
        """R² over all numbers of the target (m, …), each weighted by its own variance."""
        _check_alike(read=self.read(latents), target=target)
        flat = (part.reshape(len(target), -1).numpy() for part in (target, self.read(latents)))
        return float(r2_score(*flat, multioutput="variance_weighted"))


@torch.no_grad()
def encode_ends(model, sequences):
    """`Ends` of sequences of 41 frames: the windows that end where the event begins, and at its end.

    Raises `ValueError` for sequences of another length, and as `model.encode` does.
    """
    _check_length(sequences, model.window, model.event)
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
    """Where forces (n, 25, N, 2) lead from `Ends`: shallow latents rolled (n, 26, width), deep (n, width).

    Forces are in px/s² times the unit of mass, the first rolled latent is the one given.
    """
    with fast(model.device):
        rolled, event = model.rollout(ends.shallow, forces), model.predict_event(ends.deep, forces)
    return rolled.float().cpu(), event.float().cpu()


def place_probes(model, sequences, ends, frames=(1, 5, 10, EVENT)):
    """{tap: `Probe` of places, px}, fitted to latents as encoded and as predicted, so that it reads both.

    `ends` are those of the `sequences`; the shallow latents are rolled to each of `frames` of the event.
    One fitted to encoded latents alone leans on directions that hardly vary; what is predicted is a little
    off in them, and would be read far away. Raises `ValueError` for frames beyond the event.
    """
    _check_length(sequences, WINDOW, EVENT)
    frames = [whole_number(frame, "a frame of the event") for frame in frames]
    if not all(0 <= frame <= EVENT for frame in frames):
        raise ValueError(f"frames must be from 0 to the {EVENT} of the event, got {frames}")
    now = sequences.states.shape[1] - EVENT - 1
    rolled, event = foreseen(model, ends, sequences.forces[:, now:])
    places = sequences.states[:, now:, :, :2]
    shallow = torch.cat([ends.shallow, ends.shallow_goal, *rolled[:, frames].unbind(dim=1)])
    deep = torch.cat([ends.deep, ends.deep_goal, event])
    return {
        "shallow": Probe(shallow, torch.cat([places[:, k] for k in (0, EVENT, *frames)])),
        "deep": Probe(deep, torch.cat([places[:, k] for k in (0, EVENT, EVENT)])),
    }


def truths(states, masses):
    """What a probe may be asked for, of states (n, N, 4) and masses (n, N): {name: (n, …)}.

    Places in px, velocities in px/s, the kinetic energy of all bodies in px²/s² times the unit of mass.
    """
    _check_states(states, masses)
    energy = (0.5 * masses[..., None] * states[..., 2:].square()).sum(dim=(1, 2))[:, None]
    return {"position": states[..., :2], "velocity": states[..., 2:], "mass": masses, "energy": energy}


def off_px(read, true):
    """How far bodies are read from where they are, px: (n, N, 2) twice → (n,), root mean square over them."""
    _check_alike(read=read, true=true)
    return (read - true).square().sum(dim=-1).mean(dim=-1).sqrt()


class Spread(NamedTuple):
    """How latents fill their space. A probe's R² and the rank do not see a collapse in size."""

    deviation: float  # mean over dimensions; VICReg asks for 1
    n_flat: int  # dimensions with less than 0.1
    covariance: float  # mean square off the diagonal
    rank: float  # exp of the entropy of the covariance matrix' eigenvalues


def spread(latents):
    """`Spread` of latents (n, D), finite, at least two of each; `rank` is NaN where nothing varies at all."""
    _check_latents(latents)
    if min(latents.shape) < 2:
        raise ValueError(f"a spread needs two latents of two dimensions or more, got {tuple(latents.shape)}")
    z = latents.double()
    deviation, matrix = z.std(dim=0), torch.cov(z.T)
    off = matrix - matrix.diagonal().diag()
    share = torch.linalg.eigvalsh(matrix).clamp_min(0)
    share = share / share.sum()
    return Spread(
        deviation.mean().item(),
        int((deviation < 0.1).sum()),
        (off.square().sum() / (off.numel() - len(off))).item(),
        torch.special.entr(share).sum().exp().item(),
    )


def beside_persistence(predicted, now, later):
    """Mean square error of a prediction over that of staying as it is; (n, D) each. 1: nothing foreseen.

    NaN or infinity where nothing changes.
    """
    _check_alike(predicted=predicted, now=now, later=later)
    return ((predicted - later).square().mean() / (now - later).square().mean()).item()


def straight_ends(states, masses, forces=None, *, n_frames=EVENT):
    """Where bodies would be without meeting each other: (n, N, 4), (n, N) → (n, N, 2).

    After `n_frames`, at constant velocity or under known forces (n, n_frames, N, 2); walls reflect
    them. px, px/s, and px/s² times the unit of mass.
    """
    _check_states(states, masses)
    if whole_number(n_frames, "n_frames") < 0:
        raise ValueError(f"n_frames must be 0 or more, got {n_frames}")
    wanted = (len(states), n_frames, states.shape[1], 2)
    if forces is not None and tuple(forces.shape) != wanted:
        raise ValueError(f"forces must be {wanted}, one a frame and body, got {tuple(forces.shape)}")
    radii = UNIT_RADIUS * masses.double().sqrt()[..., None]
    ends = states[..., :2] + n_frames / FPS * states[..., 2:]
    if forces is not None:
        left = torch.arange(n_frames, 0, -1, dtype=torch.float64) / FPS**2
        ends = ends + torch.einsum("t,ntbx->nbx", left, forces.double()) / masses.double()[..., None]
    span = SIZE - 2 * radii
    return radii + span - ((ends - radii) % (2 * span) - span).abs()


class Counterfactual(NamedTuple):
    """Sequences, and the same starts under other forces: what changes, and what a model says of it."""

    first: Sequences
    other: Sequences


def counterfactual(sequences, *, rng):
    """The same windows, followed by an event under forces of other sequences, drawn without return.

    `rng` is a `numpy.random.Generator`. Raises `ValueError` for sequences shorter than an event.
    """
    check_generator(rng)
    n_frames = sequences.states.shape[1]
    if n_frames <= EVENT:
        raise ValueError(f"sequences must have more than the {EVENT} frames of an event, got {n_frames}")
    now = sequences.states.shape[1] - EVENT - 1
    order = torch.from_numpy(rng.permutation(len(sequences.masses)))
    forces = sequences.forces.clone()
    forces[:, now:] = sequences.forces[order, now:]
    states = sequences.states.clone()
    states[:, now:] = move(states[:, now], sequences.masses, forces[:, now:])
    return Counterfactual(sequences, Sequences(states, sequences.masses, forces))


def change_correlations(predicted, true):
    """Correlation of predicted and true changes of place, per body: (n, N, 2) twice → (N,).

    NaN for a body of which either does not change.
    """
    _check_alike(predicted=predicted, true=true)
    pairs = zip(predicted.unbind(dim=1), true.unbind(dim=1), strict=True)
    return np.array([np.corrcoef(p.flatten(), t.flatten())[0, 1] for p, t in pairs])


def distance_agreement(latents, others, states, other_states):
    """Spearman's rank correlation of latent and true distances of the same pairs; (n, D), (n, N, 4) twice."""
    _check_alike(latents=latents, others=others)
    _check_alike(states=states, other_states=other_states)
    _check_latents(latents - others, len(states))
    apart = (latents - others).square().sum(dim=-1)
    true = (states - other_states)[..., :2].square().sum(dim=(1, 2))
    return float(np.asarray(spearmanr(apart.numpy(), true.numpy()))[0])


def _check_alike(**tensors):
    """`ValueError` for tensors of several shapes: they would be broadcast, or compared with others."""
    shapes = [tuple(tensor.shape) for tensor in tensors.values()]
    if len(set(shapes)) > 1:
        got = " and ".join(str(shape) for shape in shapes)
        raise ValueError(f"{', '.join(tensors)} must have one shape, got {got}")


def _check_latents(latents, n=None):
    """`ValueError` for latents that are not finite (n, D), with n rows if it is given."""
    if latents.ndim != 2 or not len(latents) or n not in (None, len(latents)):
        wanted = "n" if n is None else n
        raise ValueError(f"latents must be ({wanted}, D), one or more, got {tuple(latents.shape)}")
    if not latents.isfinite().all():
        raise ValueError("latents must be finite, got NaN or infinity")


def _check_states(states, masses):
    if states.ndim != 3 or states.shape[2] != 4 or masses.shape != states.shape[:2]:
        raise ValueError(
            f"states must be (n, N, 4) and masses (n, N), got {tuple(states.shape)} and {tuple(masses.shape)}"
        )


def _check_length(sequences, window, event):
    n_frames = sequences.states.shape[1]
    if n_frames != window + event:
        raise ValueError(
            f"sequences must have {window + event} frames, a window and an event, got {n_frames}"
        )
