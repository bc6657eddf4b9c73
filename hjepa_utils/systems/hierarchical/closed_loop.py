"""Reaching goals: plans by either level or by the true world, played at once or planned anew on the way."""

from typing import NamedTuple

import torch

from ...runs.checkpoints import resumable
from ...runs.checks import checked_seed, whole_number
from ...runs.fingerprint import hash_code, hash_tensors
from ...runs.hardware import fast
from .plans import count_blocks, event_cost, held, latent_distance, search
from .world import BLOCK, EVENT, FORCE, WINDOW, move, solved, ways


class Outcome(NamedTuple):
    """What happened in B problems of 25 frames."""

    states: torch.Tensor  # float64 (B, 26, N, 4), the first is now
    forces: torch.Tensor  # float32 (B, 25, N, 2)

    def reached(self, problems):
        """Whether every controlled body is within its radius of its goal at the end: bool (B,)."""
        return solved(self.states[:, -1], problems)

    def ever_reached(self, problems):
        """The same, in any frame on the way."""
        return solved(self.states[:, 1:], problems).any(dim=1)

    def frames_to_goal(self, problems):
        """The first frame in which it is so, 1 … 25, as float (B,); NaN where there is none."""
        there = solved(self.states[:, 1:], problems)
        first = there.double().argmax(dim=1) + 1.0
        return torch.where(there.any(dim=1), first, torch.nan)

    def way_left(self, problems):
        """Mean over the controlled bodies of the way to the goal at the end, px: (B,)."""
        return ways(self.states[:, -1], problems).mean(dim=-1)


class EventLevel:
    """The deep predictor: where one event ends. It can only plan a whole one."""

    def __init__(self, model, problems):
        self.model, self.problems = model, problems
        _, self.goal = encoded_goals(model, problems)

    def cost(self, states, n_frames):
        """From states (B, 16, N, 4), what candidates of so many frames cost."""
        if n_frames != self.model.event:
            raise ValueError(
                f"the event level plans {self.model.event} frames, asked for {n_frames}: "
                "let another level plan the rest"
            )
        with fast(self.model.device):
            _, deep = self.model.encode(states[..., :2].float(), self.problems.masses)
        return event_cost(self.model, deep, self.goal, self.problems.controlled, BLOCK)


class StepLevel:
    """The shallow predictor, rolled to the end of the plan."""

    def __init__(self, model, problems):
        self.model, self.problems = model, problems
        self.goal, _ = encoded_goals(model, problems)

    def cost(self, states, n_frames):
        """As `EventLevel.cost`, for any number of frames."""
        model, problems = self.model, self.problems
        with fast(model.device):
            shallow, _ = model.encode(states[..., :2].float(), problems.masses)

        def end(z, forces):
            for t in range(forces.shape[1]):
                z = model.predict_next(z, forces[:, t])
            return z

        def cost(blocks):
            forces = held(blocks, problems.controlled, model.n_bodies, BLOCK)
            return latent_distance(end, shallow, forces, self.goal)

        return cost


class TrueLevel:
    """The true world itself, velocities known: what the same search reaches with a perfect model."""

    def __init__(self, problems):
        self.problems = problems

    def cost(self, states, n_frames):
        problems = self.problems
        n_bodies = problems.masses.shape[1]

        def cost(blocks):
            n_candidates = blocks.shape[1]
            forces = held(blocks, problems.controlled, n_bodies, BLOCK)
            now, masses = (
                part.repeat_interleave(n_candidates, dim=0) for part in (states[:, -1], problems.masses)
            )
            ends = move(now, masses, forces.flatten(0, 1))[:, -1].unflatten(0, blocks.shape[:2])
            return ways(ends, problems).square().sum(dim=-1).to(blocks)

        return cost


@torch.no_grad()
def pursue(problems, first, again=None, *, rng, force=FORCE, plans=None, **settings):
    """Plan by the level `first`, then act; with `again`, plan the rest anew by that level after each block.

    The rest of the plan is the next search's first guess. No component of a force exceeds `force`, `rng`
    is a `torch.Generator`, `settings` are those of `cem`. Returns the `Outcome` in the true world; to a
    list `plans` the forces (B, n, N, 2) are appended that before each block are planned for the rest.
    """
    n_blocks = count_blocks(EVENT, BLOCK)
    blocks = torch.zeros(len(problems.masses), n_blocks, len(problems.controlled), 2)
    blocks = search(first.cost(problems.states, EVENT), blocks, force, rng=rng, **settings)
    states, forces = problems.states, []
    for done in range(n_blocks):
        if done and again is not None:
            cost = again.cost(states[:, -WINDOW:], EVENT - done * BLOCK)
            blocks = search(cost, blocks, force, rng=rng, **settings)
        planned = held(blocks, problems.controlled, states.shape[2], BLOCK)
        if plans is not None:
            plans.append(planned)
        now = planned[:, :BLOCK]
        forces.append(now)
        states = torch.cat([states, move(states[:, -1], problems.masses, now)[:, 1:]], dim=1)
        blocks = blocks[:, 1:]
    return Outcome(states[:, WINDOW - 1 :], torch.cat(forces, dim=1))


def kept(problems, act, *, file, seed, made_from=None, n_at_once=20, label="problems"):
    """The `Outcome` of `act(problems, rng)`, some problems at a time, kept in a file and read from there.

    `act` gives the outcome of some `Problems`, `rng` is a `torch.Generator` with a seed of its own for
    each part. `made_from`, JSON-able, is what the code of `act` does not tell, such as `hash_tensors` of
    a model's weights. An interrupted call goes on where it stopped.
    """
    seed, n_at_once = checked_seed(seed), whole_number(n_at_once, "n_at_once")
    if n_at_once < 1:
        raise ValueError(f"n_at_once must be 1 or more, got {n_at_once}")
    n, n_bodies = problems.masses.shape
    outcome = Outcome(
        torch.zeros(n, EVENT + 1, n_bodies, 4, dtype=torch.float64), torch.zeros(n, EVENT, n_bodies, 2)
    )
    fingerprint = {
        "problems": hash_tensors(dict(zip("abcd", problems[:4], strict=True))), "seed": seed,
        "controlled": problems.controlled, "at once": n_at_once, "made from": made_from,
        "the code": hash_code(act),
    }  # fmt: skip
    for part in resumable(
        file, -(-n // n_at_once), fingerprint=fingerprint, history=[], modules={},
        tensors=outcome._asdict(), label=label, unit="part",
    ):  # fmt: skip
        some = slice(part * n_at_once, (part + 1) * n_at_once)
        done = act(problems.some(some), torch.Generator().manual_seed(10_000 * seed + part))
        outcome.states[some], outcome.forces[some] = done
    return outcome


def play(problems, forces):
    """The `Outcome` of forces (B, 25, N, 2) that were chosen before."""
    forces, wanted = torch.as_tensor(forces).detach(), tuple(problems.forces.shape)
    if tuple(forces.shape) != wanted:
        raise ValueError(f"forces must be {wanted}, one a frame and body, got {tuple(forces.shape)}")
    return Outcome(move(problems.states[:, -1], problems.masses, forces), forces)


def no_forces(problems):
    """(B, 25, N, 2): what waiting does, a floor."""
    return torch.zeros_like(problems.forces)


def random_forces(problems, *, rng, force=FORCE):
    """(B, 25, N, 2), uniform within ± `force`, held as the goals' own, on controlled bodies: a floor."""
    if not isinstance(rng, torch.Generator):
        raise TypeError(f"rng must be a torch.Generator, got {type(rng).__module__}.{type(rng).__name__}")
    shape = (len(problems.masses), count_blocks(EVENT, BLOCK), len(problems.controlled), 2)
    blocks = force * (2 * torch.rand(shape, generator=rng) - 1)
    return held(blocks, problems.controlled, problems.masses.shape[1], BLOCK)


@torch.no_grad()
def encoded_goals(model, problems):
    """What the goals' windows say: shallow, deep, each (B, width)."""
    with fast(model.device):
        return model.encode(problems.goals[..., :2].float(), problems.masses)
