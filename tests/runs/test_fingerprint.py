"""What is told apart, and what is not."""

import copy
import functools
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers import ROOT
from torch import nn

import hjepa_utils as hj
from hjepa_utils.runs.fingerprint import differences, hash_code, hash_tensors


def test_equal_tensors_have_equal_hashes_wherever_and_however_they_lie():
    tensor = torch.randn(5, 4)
    for other in (
        tensor.clone(),
        tensor.T.contiguous().T,
        tensor.requires_grad_(),
        torch.nn.Parameter(tensor),
    ):
        assert hash_tensors({"a": other}) == hash_tensors({"a": tensor})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.uint8, torch.bool])
def test_every_number_shape_dtype_and_name_counts(dtype):
    tensor = torch.zeros(1000, 3, dtype=dtype)
    hashes = {hash_tensors({"a": tensor}), hash_tensors({"b": tensor}), hash_tensors({"a": tensor.T})}
    hashes.add(hash_tensors({"a": tensor.to(torch.int16)}))
    for place in ((0, 0), (500, 1), (999, 2)):
        edited = tensor.clone()
        edited[place] = 1
        hashes.add(hash_tensors({"a": edited}))
    assert len(hashes) == 7


def scaled(factor):
    return lambda z: factor * z


class Own(nn.Module):
    """Stands for a class of a notebook."""

    factor = 2

    def __init__(self, features=None, width=3):
        super().__init__()
        self.features, self.width, self.inner = features, width, nn.Linear(3, 1)

    def forward(self, z):
        return self.factor * helper(z)


def helper(z):
    return z + CONSTANTS["shift"]


CONSTANTS = {"shift": 1.0}


def test_models_that_compute_differently_are_told_apart():
    models = [
        hj.HamiltonianDynamics(hj.HNN(8)),
        hj.HamiltonianDynamics(hj.HNN(8), hj.tao_step),
        hj.HamiltonianDynamics(hj.HNN(8), hj.rk4_step),
        hj.HamiltonianDynamics(hj.HNN(8), functools.partial(hj.tao_step, binding=2.0)),
        hj.HamiltonianDynamics(hj.HNN(8), functools.partial(hj.tao_step, binding=3.0)),
        hj.HamiltonianDynamics(hj.SeparableHNN(8)),
        hj.HamiltonianDynamics(hj.HNN(8, (8,))),
        hj.SubstepDynamics(hj.HNN(8), 2),
        hj.SubstepDynamics(hj.HNN(8), 4),
        hj.BaselineMLP(8),
        hj.BaselineMLP(8, residual=True),
        *(Own(features) for features in (None, scaled(2), scaled(3), lambda z: z, lambda z: -z, torch.sin)),
        Own(width=4),
        nn.Sequential(nn.Linear(2, 2), nn.ReLU()),
        nn.Sequential(nn.Linear(2, 2), nn.Tanh()),
    ]
    assert len({hash_code(model) for model in models}) == len(models)


@pytest.mark.parametrize("make", [lambda: hj.HamiltonianDynamics(hj.HNN(8)), lambda: Own(scaled(2))])
def test_the_same_made_again_is_the_same_whatever_its_weights(make):
    assert hash_code(make()) == hash_code(make())


def test_code_is_followed_to_what_it_uses(monkeypatch):
    own, hnn = hash_code(Own()), hash_code(hj.HamiltonianDynamics(hj.HNN(8)))
    edits = [
        (CONSTANTS, "shift", 2.0),
        (globals(), "helper", lambda z: z + CONSTANTS["shift"] + 0),
        (Own, "factor", 3),
        (Own, "forward", lambda self, z: self.factor - helper(z)),
    ]
    for place, name, value in edits:
        with monkeypatch.context() as patch:
            (patch.setitem if isinstance(place, dict) else patch.setattr)(place, name, value)
            assert hash_code(Own()) != own, name
    assert hash_code(Own()) == own
    softplus = sys.modules["hjepa_utils.dynamics.softplus"]._Softplus
    monkeypatch.setattr(
        softplus, "backward", staticmethod(lambda ctx, bar: bar * torch.tanh(ctx.saved_tensors[0]))
    )
    assert hash_code(hj.HamiltonianDynamics(hj.HNN(8))) != hnn


HASHES = """
import hjepa_utils as hj
from hjepa_utils.experiment.training import fit, fit_seeds
from hjepa_utils.runs.fingerprint import hash_code
print(*map(hash_code, (hj.HamiltonianDynamics(hj.HNN(8)), fit, fit_seeds)))
"""


def hashes_of_package(root, seed=0):
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONHASHSEED": str(seed)}
    command = [sys.executable, "-c", HASHES]
    return subprocess.run(
        command, cwd=root, env=environment, text=True, check=True, capture_output=True
    ).stdout.split()


def test_an_edit_of_a_source_file_counts_and_a_comment_does_not(tmp_path):
    for file in (ROOT / "hjepa_utils").rglob("*.py"):
        copy = tmp_path / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(file.read_text())
    here = hashes_of_package(ROOT)
    room = tmp_path / "hjepa_utils" / "dynamics"
    commented = "\n\n# a comment\n" + (room / "softplus.py").read_text()
    (room / "softplus.py").write_text(commented)
    assert hashes_of_package(tmp_path, seed=1) == here  # in another folder, with other hashes of words
    assert "sigmoid(ctx" in commented
    (room / "softplus.py").write_text(commented.replace("sigmoid(ctx", "tanh(ctx"))
    before = hashes_of_package(tmp_path)
    assert before[0] != here[0] and before[1] == here[1]
    training = tmp_path / "hjepa_utils" / "experiment"
    for file, one, other, which in (
        ("updates.py", "losses[0].sum()", "losses[0].mean()", (1, 2)),
        ("ensemble.py", "copy_(stacked[index])", "copy_(2 * stacked[index])", (2,)),
        ("fit_settings.py", "model.eval()", "model.train()", (1, 2)),
    ):
        text = (training / file).read_text()
        assert text.count(one) == 1
        (training / file).write_text(text.replace(one, other))
        after = hashes_of_package(tmp_path)
        assert [i for i in range(3) if after[i] != before[i]] == list(which), file
        before = after


def test_differences_are_words_for_people():
    before = {
        "lr": 0.001,
        "n_epochs": 5,
        "weights": "a" * 64,
        "data": {"length": 16, "split": "video"},
        "same": [1],
    }
    now = before | {"lr": 0.01, "weights": "b" * 64, "data": {"length": 16, "split": "window"}, "new": 1}
    assert differences(before, now) == (
        "lr 0.001, now 0.01; weights; split video, now window; new not given, now 1"
    )
    assert differences(before, before) == ""


def test_numpy_and_cached_functions_are_followed():
    table = np.arange(3)

    @functools.cache
    def cached(z):
        return z + table

    before = hash_code(cached)
    table[1] = 7
    assert hash_code(cached) != before


def test_sending_an_instance_to_another_process_is_no_edit():
    class Settings:
        rate = 0.1

    before = hash_code(Settings)
    copy.copy(Settings())  # as pickling does
    assert "__slotnames__" in vars(Settings) and hash_code(Settings) == before
