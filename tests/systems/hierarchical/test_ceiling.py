"""The supervised ceiling: units, and that it learns and resumes."""

import numpy as np
import pytest
import torch
from helpers import count_updates

from hjepa_utils import HierarchicalJEPA, seeded
from hjepa_utils.systems.hierarchical.ceiling import TrueEvent, fit_ceiling
from hjepa_utils.systems.hierarchical.world import draw_sequences

SHORT = {"n_sequences": 200, "batch_size": 20}


def small():
    with seeded(0):
        return TrueEvent(HierarchicalJEPA(width=32, heads=2, hidden=32))


def test_it_begins_by_saying_the_middle_and_is_as_large_as_the_deep_predictor():
    ceiling, data = small(), draw_sequences(3, rng=np.random.default_rng(0))
    torch.nn.init.zeros_(ceiling.head.weight)
    torch.nn.init.zeros_(ceiling.head.bias)
    ends = ceiling(data.states[:, 15], data.masses, data.forces[:, 15:])
    assert ends.shape == (3, 3, 2)
    assert (ends == 128).all()
    with seeded(0):
        model = HierarchicalJEPA()
        sizes = [sum(p.numel() for p in part.later.parameters()) for part in (model, TrueEvent(model))]
    assert sizes[0] == sizes[1]


def test_it_learns_and_an_interrupted_one_ends_with_the_same_bits(tmp_path, monkeypatch):
    whole = small()
    history = fit_ceiling(whole, seed=0, n_epochs=6, lr=3e-3, **SHORT)
    assert history[-1]["px"] < 0.85 * history[0]["px"]
    assert history[0]["px"] == pytest.approx(64 * (2 * history[0]["loss"]) ** 0.5, rel=0.1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        count_updates(patch, break_off_after=25, optimiser=torch.optim.AdamW)  # of ten an epoch
        fit_ceiling(small(), seed=0, n_epochs=6, lr=3e-3, checkpoint=tmp_path, **SHORT)
    resumed = small()
    assert fit_ceiling(resumed, seed=0, n_epochs=6, lr=3e-3, checkpoint=tmp_path, **SHORT) == history
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
