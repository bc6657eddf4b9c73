"""From latents alone to bodies, contacts and a readout: the whole search, step after step, no choice by hand.

1. Axes: the coordinates that turn seldom and independently (`axes`).
2. Bodies: which axes belong together. Every pairing is fitted to short windows between walls, and judged by
   how well a new readout reads its states on videos that were held out.
3. Walls: the states of all windows and the readout, fitted together for longer.
4. Contacts: which axis of one body is which of the other, and which way it points, told by the windows that
   walls alone explain worst; then the distance at which the bodies meet.
5. Longer windows, which fix velocities better.

What is nearly as good as the best is carried on from part to part, and judged again after each. A search
that is unsure at its end begins again from another seed, a few times. Two bodies of one mass, in a
rectangular table along the axes that the bodies are pushed along.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch

from ...runs.checkpoints import resumable
from ...runs.fingerprint import hash_code, hash_tensors
from . import windows as w
from .axes import find_axes
from .doubts import CLOSE, CLOSE_TURN, UNEXPLAINED, doubts_of
from .model import ContactDynamics
from .orientation import TURNS, errors_of_turns, turned
from .readout import FrameReadout
from .schedule import Schedule

N_BODIES, N_DIMS = 2, 2
PAIRINGS = ((0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2))  # of four axes into two bodies
N_UNITS = 96  # of the readout of windows
LONG = 11  # clips
N_CONTENDERS = 3  # pairings and ways that are carried on to contacts, at most
ANOTHER = 1000  # added to the seed when a search begins again


class Findings(NamedTuple):
    """What a search ended with: `dynamics`, `fitted` long windows, their latents, and `notes` on each step.

    `made_from` is the fingerprint of all that decided it.
    """

    dynamics: ContactDynamics
    fitted: w.Fitted
    latents: torch.Tensor
    notes: dict
    made_from: dict


def search(z, *, seed, schedule=Schedule(), folder=None, n_tries=3):  # noqa: B008, a frozen value
    """`Findings` from latents z (n_videos, n_clips, D) of about unit variance.

    As long as it is unsure it begins again, up to `n_tries` times in all. Of several, the sure one is kept,
    or else that whose states are read best on held-out videos; `notes["tries"]` tells all of them. With a
    `folder`, each cycle's state is kept there, and the same call goes on after it.
    """
    tries: list[Findings] = []
    for k in range(n_tries):
        where = Path(folder) / f"try {k + 1}" if folder else None
        tries.append(_Run(z, seed + ANOTHER * k, schedule, where).search())
        doubts = doubts_of(tries[-1].notes)
        if not doubts:
            break
        print(f"try {k + 1} of {n_tries} is unsure: {'; '.join(doubts)}")
    best = min(tries, key=lambda found: (bool(doubts_of(found.notes)), found.notes["held out"]))
    told = [{"held out": found.notes["held out"], "doubts": doubts_of(found.notes)} for found in tries]
    return best._replace(notes={**best.notes, "tries": told})


class _Contender(NamedTuple):
    """A pairing and a way the second body lies, fitted to short windows, and its error on held-out videos."""

    axes: tuple
    turn: tuple
    dynamics: ContactDynamics
    fitted: w.Fitted
    held_out: float


class _Run:
    """The parts of one search, each kept in a file of its own."""

    def __init__(self, z, seed, schedule, folder):
        self.z, self.seed, self.schedule, self.folder = z, seed, schedule, folder
        self.starts, self.long_starts = w.window_starts(z.shape[1]), w.window_starts(z.shape[1], LONG)
        self.short, self.long = w.cut(z, self.starts), w.cut(z, self.long_starts, LONG)
        self.made_from = {
            "latents": hash_tensors({"z": z}), "seed": seed, "schedule": schedule, "code": hash_code(search)
        }  # fmt: skip

    def search(self):
        axes = find_axes(self.z, N_BODIES * N_DIMS, seed=self.seed)
        notes: dict[str, Any] = {"contrast": axes.contrast, "agreement": axes.agreement}
        bodies = [self.bodies(axes.values, pairing) for pairing in PAIRINGS]
        notes["held out by pairing"] = [one.held_out for one in bodies]
        walls = [self.carried_on("walls", self.schedule.walls, one) for one in _near(bodies)]
        met = self.meeting(_near(walls), notes)
        best = min(met, key=lambda one: one.held_out)
        notes["contenders"] = [[list(one.axes), list(one.turn), one.held_out] for one in met]
        notes["axes of bodies"], table = list(best.axes), best.dynamics
        notes["held out, walls alone"] = next(one.held_out for one in walls if one.axes == best.axes)
        notes["distance, short windows"] = table.pair_distance.item()
        fitted = w.lengthened(table, best.fitted, self.starts, self.long, self.long_starts)
        fitted = self.cycles("long windows", self.schedule.long, table, fitted, self.long, self.long_starts)
        notes["distance"] = table.pair_distance.item()
        notes["held out"] = self.held_out("long windows", table, fitted, self.long)
        notes["unexplained"] = (fitted.errors > UNEXPLAINED).float().mean().item()
        notes["error"] = fitted.errors.median().item()
        return Findings(table, fitted, self.long, notes, self.made_from)

    def bodies(self, positions, pairing):
        """The `_Contender` of bodies of these axes, of positions (n_videos, n_clips, 4), that do not meet."""
        table = w.unit_table(N_BODIES, N_DIMS)
        states = w.first_states(positions[..., pairing], self.starts)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            readout = FrameReadout(N_BODIES, N_DIMS, self.short.shape[-1], n_units=N_UNITS)
        path = w.states_at(table, states, w.frames_of()).float()
        w.learn_readout(readout, path, self.short, n_steps=60, decay=0.0)
        fitted = w.Fitted(states, w.errors_of(table, readout, states, self.short).detach(), readout)
        begun = _Contender(pairing, TURNS[0], table, fitted, torch.inf)
        return self.carried_on("bodies", self.schedule.bodies, begun)

    def carried_on(self, part, cycles, one):
        """The `_Contender` after more cycles on short windows."""
        name = f"{part} {_named(one.axes)}, way {TURNS.index(one.turn) + 1}"
        fitted = self.cycles(name, cycles, one.dynamics, one.fitted, self.short, self.starts)
        held_out = self.held_out(name, one.dynamics, fitted, self.short)
        return one._replace(fitted=fitted, held_out=held_out)

    def meeting(self, contenders, notes):
        """The `_Contender`s with contacts, for the ways the second body lies that are nearly the best."""
        turns, ways = {}, []
        for one in contenders:
            name = _named(one.axes)
            errors = self.kept(f"turns {name}", lambda one=one: errors_of_turns(one.fitted, self.short))
            order = sorted(range(len(TURNS)), key=errors.__getitem__)
            near = [k for k in order if errors[k] <= CLOSE_TURN * min(errors)]
            ways += [(rank, one, TURNS[k]) for rank, k in enumerate(near)]
            turns[name] = errors
        notes["error by orientation"] = turns
        ways.sort(key=lambda way: way[0])  # the best way of every pairing first
        met = []
        for _, one, turn in ways[:N_CONTENDERS]:
            table, fitted = turned(one.fitted, turn, self.short)
            one = one._replace(turn=turn, dynamics=table, fitted=fitted)
            met.append(self.carried_on("contacts", self.schedule.contacts, one))
        return met

    def held_out(self, name, dynamics, fitted, latents):
        """`held_out_error` of what a part ended with."""
        video_of = torch.arange(len(self.z)).repeat_interleave(len(latents) // len(self.z))
        judged = {"seed": self.seed, "n_steps": self.schedule.n_reading}
        return self.kept(
            f"{name}, held out", lambda: w.held_out_error(dynamics, fitted, latents, video_of, **judged)
        )

    def kept(self, name, compute):
        """What `compute()` gave, JSON-able, when this part was first there."""
        history = []
        for _ in self.resumable(name, 1, history, modules={}):
            history.append({"value": compute()})
        return history[0]["value"]

    def resumable(self, name, n, history, **options):
        file = self.folder / f"{name}.safetensors" if self.folder else None
        made_from = {**self.made_from, "part": name}
        return resumable(file, n, fingerprint=made_from, history=history, label=name, **options)

    def cycles(self, name, cycles, dynamics, fitted, latents, starts):
        states, errors, history = fitted.states.clone(), fitted.errors.clone().double(), []
        generator = torch.Generator().manual_seed(self.seed)
        for k in self.resumable(
            name, len(cycles), history, generators={"noise": generator}, unit="cycle", shown=("error",),
            modules={"readout": fitted.readout, "dynamics": dynamics},
            tensors={"states": states, "errors": errors},
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


def _near(contenders):
    """Those whose error is nearly the least, best first."""
    ordered = sorted(contenders, key=lambda one: one.held_out)
    return [one for one in ordered if one.held_out <= CLOSE * ordered[0].held_out]


def _named(pairing):
    return "".join(str(axis) for axis in pairing)
