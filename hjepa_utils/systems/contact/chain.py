"""From latents alone to bodies, contacts and a readout: the whole search, step after step, no choice by hand.

1. Axes: the coordinates that turn seldom and independently (`axes`).
2. Bodies: which axes belong together. Every pairing is fitted to short windows between walls; the one whose
   readout reads the videos that it has not seen best is kept.
3. Walls: states of all windows and the readout, fitted together.
4. Contacts: which axis of one body is which of the other, and which way it points, told by the windows that
   walls alone explain worst; then the distance at which the bodies meet.
5. Longer windows, which fix velocities better.

Two bodies of one mass, in a rectangular table along the axes that the bodies are pushed along.
"""

from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ...runs.checkpoints import resumable
from ...runs.fingerprint import hash_code, hash_tensors
from . import windows as w
from .axes import find_axes
from .model import ContactDynamics
from .readout import FrameReadout

N_BODIES, N_DIMS = 2, 2
PAIRINGS = ((0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2))  # of four axes into two bodies
N_UNITS = 96  # of the readout of windows
LONG = 11  # clips
UNEXPLAINED = 0.2  # of the variance of latents: a window with a larger error is not explained
UNSURE_AXES, UNSURE_MARGIN, UNSURE_SHARE = 0.5, 0.01, 0.15  # agreement; relative; of the windows


class Cycle(NamedTuple):
    """Begin the bad windows again from `n_tries` places, then `n_steps` of `fit_windows`."""

    n_steps: int
    share: float
    lr: float
    state_lr: float
    map_lr: float = 0.0
    n_tries: int = 4


class Schedule(NamedTuple):
    """How long each part of the search takes; `shortened` for a try."""

    bodies: tuple = (Cycle(150, 0.8, 3e-3, 0.02),)
    walls: tuple = (
        Cycle(140, 0.8, 3e-3, 0.02, 4e-3), Cycle(100, 0.8, 3e-3, 0.02, 4e-3),
        Cycle(140, 0.85, 2e-3, 0.015, n_tries=8), Cycle(140, 0.85, 2e-3, 0.015, n_tries=8),
    )  # fmt: skip
    contacts: tuple = (
        *(Cycle(130, share, 2e-3, 0.015, n_tries=10) for share in (0.85, 0.85, 0.9, 0.9)),
        Cycle(180, 0.95, 1.5e-3, 0.015, n_tries=10),
    )
    long: tuple = (
        Cycle(130, 0.8, 1.5e-3, 0.005, 2e-3, 10), Cycle(130, 0.85, 2e-3, 0.01, 2e-3, 10),
        Cycle(130, 0.85, 2e-3, 0.01, 2e-3, 10), Cycle(130, 0.9, 2e-3, 0.008, 2e-3, 10),
        Cycle(130, 0.92, 1.5e-3, 0.005, 2e-3, 10),
    )  # fmt: skip
    n_reading: int = 250  # steps of the readouts that held-out videos judge
    n_epochs: int = 100  # of the readout of clips

    def shortened(self, share):
        """With so much of all steps and epochs."""

        def shorter(cycles):
            return tuple(c._replace(n_steps=max(1, round(share * c.n_steps))) for c in cycles)

        n_reading, n_epochs = (max(1, round(share * n)) for n in self[4:])
        return Schedule(*map(shorter, self[:4]), n_reading=n_reading, n_epochs=n_epochs)


class Findings(NamedTuple):
    """What a search ended with: `dynamics`, `fitted` long windows, their latents, and `notes` on each step.

    `made_from` is the fingerprint of all that decided it.
    """

    dynamics: ContactDynamics
    fitted: w.Fitted
    latents: torch.Tensor
    notes: dict
    made_from: dict


def search(z, *, seed, schedule=Schedule(), folder=None):  # noqa: B008, a frozen value
    """`Findings` from latents z (n_videos, n_clips, D) of about unit variance.

    With a `folder`, each cycle's state is kept there, and the same call goes on after it.
    """
    axes = find_axes(z, N_BODIES * N_DIMS, seed=seed)
    run = _Run(z, seed, schedule, Path(folder) if folder else None)
    notes: dict[str, Any] = {"contrast": axes.contrast, "agreement": axes.agreement}
    tried = [run.bodies(axes.values[..., order], k) for k, order in enumerate(PAIRINGS)]
    notes["held out by pairing"] = [error for error, _ in tried]
    k = min(range(len(tried)), key=lambda k: tried[k][0])
    notes["axes of bodies"] = list(PAIRINGS[k])
    table, fitted = w.unit_table(N_BODIES, N_DIMS), tried[k][1]
    fitted = run.cycles("walls", schedule.walls, table, fitted, run.short, run.starts)
    table, fitted, errors = orient(fitted, run.short)
    notes["error by orientation"] = errors
    fitted = run.cycles("contacts", schedule.contacts, table, fitted, run.short, run.starts)
    notes["distance, short windows"] = table.pair_distance.item()
    long_starts = w.window_starts(z.shape[1], LONG)
    long = w.cut(z, long_starts, LONG)
    fitted = w.lengthened(table, fitted, run.starts, long, long_starts)
    fitted = run.cycles("long windows", schedule.long, table, fitted, long, long_starts)
    notes["distance"] = table.pair_distance.item()
    notes["unexplained"] = (fitted.errors > UNEXPLAINED).float().mean().item()
    notes["error"] = fitted.errors.median().item()
    return Findings(table, fitted, long, notes, run.made_from)


def doubts_of(notes):
    """Sentences on what a search is unsure of, by its notes."""
    doubts = []
    if notes.get("agreement", 1.0) < UNSURE_AXES:
        doubts.append(
            f"only {notes['agreement']:.0%} of the searches for axes agree: the axes may be mixed; "
            "give more videos, or another seed"
        )
    for key, what in (
        ("held out by pairing", "axes make a body"),
        ("error by orientation", "way bodies lie"),
    ):
        best, second, *_ = sorted(notes.get(key, [0.0, 1.0]))
        if second < (1 + UNSURE_MARGIN) * best:
            doubts.append(
                f"which {what} is hardly told, errors {best:.3f} and {second:.3f}: give more videos"
            )
    if notes.get("unexplained", 0.0) > UNSURE_SHARE:
        doubts.append(
            f"{notes['unexplained']:.0%} of the windows are not explained by two bodies between walls: "
            "predictions will often be wrong"
        )
    return doubts


class _Run:
    """The parts of one search, each kept in a file of its own."""

    def __init__(self, z, seed, schedule, folder):
        self.seed, self.schedule, self.folder, self.n_clips = seed, schedule, folder, z.shape[1]
        self.starts = w.window_starts(z.shape[1])
        self.short = w.cut(z, self.starts)
        self.video_of = torch.arange(len(z)).repeat_interleave(len(self.starts))
        self.made_from = {
            "latents": hash_tensors({"z": z}), "seed": seed, "schedule": schedule, "code": hash_code(search)
        }  # fmt: skip

    def bodies(self, positions, k):
        """The held-out error of bodies of these axes (n_videos, n_clips, 4), and what was fitted."""
        table = w.unit_table(N_BODIES, N_DIMS)
        states = w.first_states(positions, self.starts)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            readout = FrameReadout(N_BODIES, N_DIMS, self.short.shape[-1], n_units=N_UNITS)
        path = w.states_at(table, states, w.frames_of()).float()
        w.learn_readout(readout, path, self.short, n_steps=60, decay=0.0)
        fitted = w.Fitted(states, w.errors_of(table, readout, states, self.short).detach(), readout)
        cycles = self.schedule.bodies
        fitted = self.cycles(f"bodies {k + 1}", cycles, table, fitted, self.short, self.starts)
        judged = {"seed": self.seed, "n_steps": self.schedule.n_reading}
        return w.held_out_error(table, fitted, self.short, self.video_of, **judged), fitted

    def cycles(self, name, cycles, dynamics, fitted, latents, starts):
        states, errors, history = fitted.states.clone(), fitted.errors.clone().double(), []
        generator = torch.Generator().manual_seed(self.seed)
        file = self.folder / f"{name}.safetensors" if self.folder else None
        for k in resumable(
            file, len(cycles), fingerprint={**self.made_from, "part": name}, history=history,
            modules={"readout": fitted.readout, "dynamics": dynamics}, generators={"noise": generator},
            tensors={"states": states, "errors": errors}, label=name, unit="cycle", shown=("error",),
        ):  # fmt: skip
            n_steps, share, lr, state_lr, map_lr, n_tries = cycles[k]
            now = w.Fitted(states, errors, fitted.readout)
            now = w.begin_again(dynamics, now, latents, starts, generator=generator, n_tries=n_tries)
            now = w.fit_windows(
                dynamics, fitted.readout, now.states, latents, n_steps=n_steps, share=share, lr=lr,
                state_lr=state_lr, map_lr=map_lr,
            )  # fmt: skip
            states.copy_(now.states)
            errors.copy_(now.errors)
            history.append({"error": now.errors[now.errors <= now.errors.quantile(0.8)].mean().item()})
        return w.Fitted(states, errors, fitted.readout)


def orient(fitted, latents, *, share=0.38, n_steps=25):
    """The table in which bodies meet, `Fitted` in its axes, and the errors of all turns of the second body.

    Whether its axes are swapped, and which way each points, by what the windows that walls explain worst
    lose when the bodies may meet. Ways that do not swap come first, signs ++, +-, -+, --.
    """
    worst = fitted.errors.argsort()[-round(share * len(fitted.errors)) :]
    turns, errors = list(product((False, True), (1.0, -1.0), (1.0, -1.0))), []
    for swapped, *signs in turns:
        table, turned = _turned(fitted, swapped, signs)
        errors.append(_refitted(table, turned, latents, worst, n_steps).mean().item())
    swapped, *signs = turns[min(range(len(turns)), key=errors.__getitem__)]
    table, turned = _turned(fitted, swapped, signs)
    with torch.no_grad():
        errors_now = w.errors_of(table, turned.readout, turned.states, latents)
    return table, turned._replace(errors=errors_now), errors


def _turned(fitted, swapped, signs):
    """The table with a contact of bodies, and `Fitted`, when the second body's axes are so."""
    table = w.unit_table(N_BODIES, N_DIMS, pairs=[(0, 1)])
    table.scale.data[1] = torch.tensor(signs).to(table.scale)
    if not swapped:
        return table, fitted
    return table, fitted._replace(
        states=fitted.states[:, [0, 1, 3, 2, 4, 5, 7, 6]], readout=fitted.readout.turned(1, [1, 0])
    )


def _refitted(table, fitted, latents, windows, n_steps, lr=0.02):
    """The least errors (n,) of some windows when their states alone are moved."""
    states = fitted.states[windows].clone().requires_grad_()
    least = torch.full((len(states),), torch.inf, dtype=states.dtype)
    optimiser = torch.optim.Adam([states], lr)
    for step in range(n_steps):
        optimiser.param_groups[0]["lr"] = lr * (1 - step / n_steps) + 1e-4
        errors = w.errors_of(table, fitted.readout, states, latents[windows])
        least = torch.minimum(least, errors.detach())
        (states.grad,) = torch.autograd.grad(errors.sum(), states)
        optimiser.step()
        with torch.no_grad():
            states[:, : states.shape[1] // 2].clamp_(-0.999, 0.999)
    return least
