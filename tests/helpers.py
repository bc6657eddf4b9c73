"""The project's root, a stand-in for a full disk, and texts whose floats may differ a little."""

import re
import resource
import warnings
from contextlib import contextmanager
from math import isclose
from pathlib import Path

import numpy as np
import torch

from hjepa_utils.systems.world_model.pendulum import true_rollout

ROOT = Path(__file__).resolve().parents[1]

FLOAT = re.compile(r"([-+]?\d+\.\d*(?:e[-+]?\d+)?|[-+]?\d+e[-+]?\d+)", re.IGNORECASE)

# Notebooks print rounded numbers. A last digit that rounds the other way needs the absolute part; the
# relative one covers what processors differ by. Rounding grows in the training of the MLPs, and less
# in that of what they are compared with: without AVX-512, or with latents changed by 1e-7, the MLP's
# error moved by 1 % and its spread over windows by 10 %.
USUAL = {"rel_tol": 2e-2, "abs_tol": 2e-3}
CHAOTIC, WIDER = re.compile("MLP|GRU|ODE"), USUAL | {"rel_tol": 0.15}


class TolerantText(str):
    """Equal to a text with the same words and integers, and floats within the tolerance of their row.

    Runs of spaces and dashes count as one, because the columns of a table move with its numbers.
    """

    __hash__ = str.__hash__

    def __eq__(self, other):
        if not isinstance(other, str):
            return NotImplemented
        mine, others = self._rows(self), self._rows(other)
        return len(mine) == len(others) and all(map(self._same_row, mine, others))

    def __ne__(self, other):
        return not self == other

    @staticmethod
    def _rows(text):
        return text.strip().split("<tr" if "<tr" in text else "\n")

    def _same_row(self, mine, other):
        tolerance = WIDER if CHAOTIC.search(mine) else USUAL
        mine, others = self._parts(mine), self._parts(other)
        return len(mine) == len(others) and all(
            self._same(*pair, tolerance) for pair in zip(mine, others, strict=True)
        )

    @staticmethod
    def _parts(row):
        return FLOAT.split(re.sub(r"([ \t]|[-─═])\1*", r"\1", row).strip())

    @staticmethod
    def _same(mine, other, tolerance):
        if FLOAT.fullmatch(mine) and FLOAT.fullmatch(other):
            return isclose(float(mine), float(other), **tolerance)
        return mine.strip(" ") == other.strip(" ")


@contextmanager
def no_file_above(n_bytes):
    """Stands for a full disk: the system refuses to let any file grow beyond this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def count_updates(monkeypatch, *, break_off_after=None, optimiser=torch.optim.Adam):
    """A list that grows with every update of an optimiser from now on; Ctrl-C comes after so many."""
    update, done = optimiser.step, []

    def step(self, *args):
        done.append(update(self, *args))
        if len(done) == break_off_after:
            raise KeyboardInterrupt

    monkeypatch.setattr(optimiser, "step", step)
    return done


def check_environment(name, **options):
    """Gymnasium makes it, and finds nothing to say of it, not even a warning."""
    import gymnasium  # here, because most tests need none
    from gymnasium.utils.env_checker import check_env

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make(name, render_mode="rgb_array", **options)
        check_env(env.unwrapped)


def oscillators(n, length=8, seed=0, interval=0.3):
    """Windows (n, length, 4) of two harmonic oscillators of frequency 1 and 1.6."""
    rng, omega, t = np.random.default_rng(seed), np.array([1.0, 1.6]), interval * np.arange(length)[:, None]
    amplitude, phase = rng.uniform(0.5, 1.5, (n, 1, 2)), rng.uniform(0, 2 * np.pi, (n, 1, 2))
    q = amplitude * np.cos(omega * t + phase)
    p = -amplitude * omega * np.sin(omega * t + phase)
    return torch.from_numpy(np.concatenate([q, p], axis=-1)).float()


def true_episodes(n=8, n_frames=30, seed=0):
    """Angles and torques of Pendulum-v1's own law: (n, T, 1), (n, T - 1, 1)."""
    rng = np.random.default_rng(seed)
    start = torch.from_numpy(rng.uniform([-np.pi, -4.0], [np.pi, 4.0], (n, 2)))
    actions = torch.from_numpy(rng.uniform(-2, 2, (n, n_frames - 1, 1))).float()
    return true_rollout(start, actions.double())[..., :1].float(), actions
