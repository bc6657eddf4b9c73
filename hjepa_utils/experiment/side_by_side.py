"""Trainings side by side: on a CPU one process and one thread for each, as many at once as it has cores.

Threads that share one small training wait for each other much of the time: two cores give it a tenth to
a third more speed, and two trainings side by side two thirds more. With one thread the weights do not
depend on the number of cores either.
"""

import os
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from itertools import groupby
from pathlib import Path
from pickle import PicklingError
from threading import Event, Thread

import cloudpickle
import torch
from joblib import Parallel, cpu_count, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

from ..runs.hardware import one_thread
from .ensemble import can_stack
from .training import finish, fit_seeds, prepare, warn_if_it_grew


@dataclass(frozen=True)
class Training:
    """What `fit` is given. `folder` is the arm's; the state of each seed is kept in one of its own there."""

    model: torch.nn.Module
    windows: tuple[torch.Tensor, torch.Tensor]  # to train with, (n, T, D), and to watch
    seed: int
    folder: Path
    label: str
    settings: dict = field(default_factory=dict)

    def prepared(self):
        """Checked, with the folder and the label of its seed."""
        folder, label = self.folder / f"seed {self.seed}", f"{self.label}, seed {self.seed}"
        return prepare(self.model, *self.windows, self.seed, folder, label, **self.settings)


def fit_side_by_side(trainings):
    """Train the model of every `Training` in place; the list of their histories, as `fit` gives them.

    On a CPU as many run at once as there are cores, or as the environment variable HJEPA_JOBS says; the
    weights are the same for any number. What cannot be pickled is trained in this process, after the
    others. On a GPU they run one after another, and seeds of one arm that `can_stack` together, by
    `fit_seeds`. After an interruption the same call continues each of them. Raises what `fit` does,
    `ValueError` unless HJEPA_JOBS is a whole number of at least 1, and `RuntimeError` if a process was
    killed.
    """
    if any(training.windows[0].is_cuda for training in trainings):
        return [history for _, arm in groupby(trainings, _arm) for history in _on_gpu(list(arm))]
    prepared = [training.prepared() for training in trainings]
    to_do = [one for one in prepared if not one.is_finished() and _can_be_sent(one)]
    at_once = min(n_jobs(), len(to_do))
    if at_once > 1:
        _in_processes(to_do, at_once)
    with one_thread():  # of what other processes have trained only the states are read here
        return _finished(prepared)


def _finished(prepared):
    histories = [finish(one) for one in prepared]
    for one, history in zip(prepared, histories, strict=True):
        warn_if_it_grew(history, one.label)
    return histories


def n_jobs():
    """How many trainings run at once on a CPU."""
    asked = os.environ.get("HJEPA_JOBS", "")
    if asked and not (asked.isdecimal() and int(asked) > 0):
        raise ValueError(f"HJEPA_JOBS must be a number from 1, got {asked!r}")
    return int(asked or cpu_count())


def _can_be_sent(prepared):
    """Whether another process can be given the model; torch's parametrised layers, for one, refuse."""
    try:
        cloudpickle.dumps((prepared.dynamics, prepared.settings))
    except (PicklingError, TypeError, RuntimeError):
        return False
    return True


def _in_processes(to_do, at_once):
    """Run them to their ends; the states they keep are the result."""
    label = f"{len(to_do)} trainings, {at_once} at once"
    with parallel_config(backend="loky", inner_max_num_threads=1), _epochs_shown(to_do, label):
        ended = Parallel(n_jobs=at_once, return_as="generator")(delayed(_elsewhere)(one) for one in to_do)
        try:
            for said in ended:
                print(said, end="")
        except TerminatedWorkerError as error:
            raise RuntimeError(
                f"one of {at_once} processes was killed, perhaps for want of memory: set HJEPA_JOBS to fewer "
                "and call this again, it goes on where it stopped"
            ) from error


@contextmanager
def _epochs_shown(trainings, label, every=2.0):
    """A bar of the epochs of all, looked up every few seconds in the states that they keep."""
    over, n_epochs = Event(), sum(one.settings.n_epochs for one in trainings)

    def look():
        bar.update(sum(one.epochs_done() for one in trainings) - bar.n)

    def watch():
        while not over.wait(every):
            look()

    watcher = Thread(target=watch, daemon=True)
    with tqdm(desc=label, total=n_epochs, unit="epoch") as bar:
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
        look()


def _elsewhere(prepared):
    """In a process of its own; returns what was printed."""
    said, progress = StringIO(), StringIO()
    with redirect_stdout(said), redirect_stderr(progress), one_thread():
        finish(prepared)
    return said.getvalue()


def _arm(training):
    return training.folder, id(training.windows[0]), training.settings


def _on_gpu(arm):
    """The seeds of one arm."""
    first, seeds = arm[0], [training.seed for training in arm]
    if not can_stack(first.model):
        return _finished([training.prepared() for training in arm])
    folder = first.folder / f"seeds {' '.join(map(str, seeds))}"
    models = [training.model for training in arm]
    keep = {"checkpoint": folder, "label": first.label}
    return fit_seeds(models, *first.windows, seeds=seeds, **keep, **first.settings)
