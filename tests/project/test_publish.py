"""Models of a published run ship."""

import json

import pytest
import torch

from hjepa_utils import HNN, BaselineMLP, HamiltonianDynamics, InEncoderUnits, Standardiser, load_model
from hjepa_utils.project.publish import publish_models


@pytest.mark.parametrize("encoder", ["embedded", "owner/name"])
def test_models_on_the_encoder_that_ships_become_those_that_ship(tmp_path, monkeypatch, encoder):
    run, assets = tmp_path / "paper", tmp_path / "assets"
    models = {"HNN": HamiltonianDynamics(HNN(4, (8,))), "MLP": BaselineMLP(4, (8,))}
    standardiser = Standardiser(torch.arange(4.0), torch.full((4,), 2.0))
    for name, model in models.items():
        InEncoderUnits(model, standardiser).save_pretrained(run / "03_train_hnn" / name)
    saved = {"run": {"encoder": encoder}, "results": {"03_train_hnn": {}}}
    (run / "results.json").write_text(json.dumps(saved))
    publish_models(run, assets)
    assert assets.exists() == (encoder == "embedded")
    monkeypatch.setattr("hjepa_utils.experiment.shipped.ASSETS", assets)
    z = torch.randn(5, 4, generator=torch.manual_seed(1))
    for name, model in models.items() if assets.exists() else ():
        expected = InEncoderUnits(model, standardiser).rollout(z, 3)
        torch.testing.assert_close(load_model(name.lower()).rollout(z, 3), expected, rtol=0, atol=0)
