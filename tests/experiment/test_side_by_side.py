"""Trainings in several processes end in the same bits as in one."""

import os
import signal
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers import oscillators
from tqdm import tqdm

from hjepa_utils import (
    HNN,
    BaselineMLP,
    HamiltonianDynamics,
    RotatedDynamics,
    Training,
    fit,
    fit_side_by_side,
    seeded,
)

WINDOWS = oscillators(200), oscillators(8, seed=1)  # wide and many enough for threads to be used
SETTINGS = {"n_epochs": 2, "batch_size": 32, "energy_schedule": lambda epoch, n_epochs: 0.5}
MAKERS = {
    "HNN": lambda: HamiltonianDynamics(HNN(4, (256, 128))),
    "MLP": lambda: BaselineMLP(4, (256, 256)),
}


def trainings(folder, **settings):
    planned = []
    for name, make in MAKERS.items():
        for seed in (0, 1):
            with seeded(seed):
                model = make()
            planned.append(Training(model, WINDOWS, seed, folder / name, name, SETTINGS | settings))
    return planned


def same_bits(these, those):
    return all(
        torch.equal(a, b)
        for mine, its in zip(these, those, strict=True)
        for a, b in zip(mine.model.parameters(), its.model.parameters(), strict=True)
    )


def test_any_number_of_processes_gives_the_same_bits(tmp_path, monkeypatch):
    ends = {}
    for n_jobs in (1, 2, 3):
        monkeypatch.setenv("HJEPA_JOBS", str(n_jobs))
        planned = trainings(tmp_path / str(n_jobs))
        untrained = [p.clone() for p in planned[0].model.parameters()]
        ends[n_jobs] = planned, fit_side_by_side(planned)
        assert not torch.equal(untrained[0], next(planned[0].model.parameters()))
    for n_jobs in (2, 3):
        assert ends[n_jobs][1] == ends[1][1]
        assert same_bits(ends[n_jobs][0], ends[1][0])


def test_each_is_what_fit_gives_with_one_thread(tmp_path, monkeypatch):
    monkeypatch.setenv("HJEPA_JOBS", "2")
    planned, alone = trainings(tmp_path / "together"), trainings(tmp_path / "alone")
    histories = fit_side_by_side(planned)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    for training, history in zip(alone, histories, strict=True):
        assert fit(training.model, *WINDOWS, seed=training.seed, **SETTINGS) == history
    torch.set_num_threads(before)
    assert same_bits(planned, alone)


def test_what_is_finished_is_only_read(tmp_path, monkeypatch):
    monkeypatch.setenv("HJEPA_JOBS", "2")
    first, again = trainings(tmp_path), trainings(tmp_path)
    histories = fit_side_by_side(first)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    monkeypatch.setattr("hjepa_utils.experiment.side_by_side._in_processes", None)
    assert fit_side_by_side(again) == histories and same_bits(first, again)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == written


class Fatal(BaselineMLP):
    """Kills the process it is trained in while a file is there."""

    def rollout(self, z0, n_steps):
        if len(z0) > 8 and Path(self.flag).exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().rollout(z0, n_steps)


def test_a_killed_process_is_told_of_and_a_second_call_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("HJEPA_JOBS", "2")
    flag = tmp_path / "flag"
    flag.touch()

    def planned():
        made = trainings(tmp_path)
        with seeded(0):
            model = Fatal(4, (8,))
        model.flag = str(flag)
        return [*made, Training(model, WINDOWS, 0, tmp_path / "fatal", "fatal", SETTINGS)]

    with pytest.raises(RuntimeError, match="one of 2 processes was killed"):
        fit_side_by_side(planned())
    flag.unlink()
    histories = fit_side_by_side(planned())
    assert [len(history) for history in histories] == [2] * 5


def test_a_loss_that_is_not_finite_comes_back_as_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("HJEPA_JOBS", "2")
    with pytest.raises(ValueError, match=r"HNN, seed [01]: loss is not finite in epoch 1"):
        fit_side_by_side(trainings(tmp_path, lr=1e30))


def test_what_a_process_prints_is_printed_here(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HJEPA_JOBS", "2")
    fit_side_by_side(trainings(tmp_path))
    fit_side_by_side(trainings(tmp_path, lr=0.002))
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 4 and all("begins anew" in line for line in said)


def test_the_bar_counts_the_epochs_of_all_from_where_they_stand(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HJEPA_JOBS", "2")
    shown = partial(tqdm, disable=False)  # also where the environment turns bars off
    monkeypatch.setattr("hjepa_utils.experiment.side_by_side.tqdm", shown)
    first = trainings(tmp_path)[0]
    fit(first.model, *WINDOWS, seed=0, checkpoint=tmp_path / "HNN" / "seed 0", **SETTINGS)
    fit_side_by_side(trainings(tmp_path))
    bar = capsys.readouterr().err.split("\r")[-1]
    assert bar.startswith("3 trainings, 2 at once: 100%") and " 6/6 " in bar  # the fourth was finished


def test_a_model_that_cannot_be_sent_is_trained_here(tmp_path, monkeypatch):
    ends = {}
    for n_jobs in (1, 2):
        monkeypatch.setenv("HJEPA_JOBS", str(n_jobs))
        planned = trainings(tmp_path / str(n_jobs))
        with seeded(0):
            rotated = RotatedDynamics(HNN(4, (16,)), 4)  # its orthogonal map cannot be pickled
        planned.append(Training(rotated, WINDOWS, 0, tmp_path / str(n_jobs) / "rotated", "rotated", SETTINGS))
        ends[n_jobs] = planned, fit_side_by_side(planned)
    assert ends[1][1] == ends[2][1] and len(ends[1][1][-1]) == 2
    assert same_bits(ends[1][0], ends[2][0])


@pytest.mark.parametrize("asked", ["0", "-1", "two", "1.5"])
def test_a_number_of_processes_that_is_none_is_refused(tmp_path, monkeypatch, asked):
    monkeypatch.setenv("HJEPA_JOBS", asked)
    with pytest.raises(ValueError, match=f"HJEPA_JOBS must be a number from 1, got '{asked}'"):
        fit_side_by_side(trainings(tmp_path))
