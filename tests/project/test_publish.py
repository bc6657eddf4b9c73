"""Models of a published run ship."""

import json

import numpy as np
import pytest
import torch

from hjepa_utils import (
    HNN,
    BaselineMLP,
    ContactDynamics,
    HamiltonianDynamics,
    HamiltonianWorldModel,
    HierarchicalJEPA,
    InEncoderUnits,
    Standardiser,
    load_model,
)
from hjepa_utils.experiment.shipped import save_with_class
from hjepa_utils.project.publish import publish_models, publish_some
from hjepa_utils.systems.gan.angles import AngleGAN
from hjepa_utils.systems.gan.hgn import HGN
from hjepa_utils.systems.gan.model import VideoGAN


def test_contact_dynamics_ship_whatever_the_encoder(tmp_path, monkeypatch):
    run, assets = tmp_path / "paper", tmp_path / "assets"
    model, identity = ContactDynamics(1, [0], [], [3]), Standardiser.identity(4)
    InEncoderUnits(model, identity).save_pretrained(run / "10_contact" / "contact")
    (run / "results.json").write_text(json.dumps({"run": {}, "results": {"10_contact": {}}}))
    publish_models(run, assets)
    monkeypatch.setattr("hjepa_utils.experiment.shipped.ASSETS", assets)
    assert load_model("contact").dynamics.surfaces[0].n_events == 3


@pytest.mark.parametrize("key", ["scale", "seed"])
def test_what_is_published_is_not_mixed_with_another_scale_or_seed(tmp_path, key):
    kept = {"run": {"scale": "paper", "seed": 0}, "results": {}}
    for folder, of_run in (("figures", kept["run"]), ("run", kept["run"] | {key: "other"})):
        (tmp_path / folder / "figures").mkdir(parents=True)
        (tmp_path / folder / "results.json").write_text(json.dumps(kept | {"run": of_run}))
    before = (tmp_path / "figures" / "results.json").read_bytes()
    with pytest.raises(ValueError, match=f"what is published has {key} "):
        publish_some(tmp_path / "run", tmp_path / "figures", {"10_contact"}, since=0)
    assert (tmp_path / "figures" / "results.json").read_bytes() == before


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


def test_a_hierarchical_jepa_ships_in_half_precision(tmp_path, monkeypatch):
    run, assets = tmp_path / "paper", tmp_path / "assets"
    model = HierarchicalJEPA(width=16, heads=2, hidden=16)
    save_with_class(model, run / "30_hierarchical" / "hierarchical")
    (run / "results.json").write_text(json.dumps({"run": {}, "results": {"30_hierarchical": {}}}))
    publish_models(run, assets)
    monkeypatch.setattr("hjepa_utils.experiment.shipped.ASSETS", assets)
    rounded = model.half().float().state_dict()
    for name, tensor in load_model("hierarchical").state_dict().items():
        assert torch.equal(tensor, rounded[name])


def test_generators_ship_as_they_are(tmp_path, monkeypatch):
    run, assets, names = tmp_path / "paper", tmp_path / "assets", ("HGAN", "HNN-GAN", "MoCoGAN")
    models = {f"{name.lower().replace('-', '')}_pendulum": VideoGAN(name, channels=4) for name in names}
    models |= {"hgn_pendulum": HGN(channels=4), "hgan_angle_pendulum": AngleGAN(channels=4)}
    for name, model in models.items():
        save_with_class(model.eval(), run / "41_hamiltonian_gan" / name)
    (run / "results.json").write_text(json.dumps({"run": {}, "results": {"41_hamiltonian_gan": {}}}))
    publish_models(run, assets)
    monkeypatch.setattr("hjepa_utils.experiment.shipped.ASSETS", assets)
    for name, model in models.items():
        first, second = (m.sample(2, 3, rng=np.random.default_rng(0)) for m in (model, load_model(name)))
        assert first.shape == (2, 3, 3, 32, 32) and torch.equal(first, second)


def test_a_world_model_ships_as_it_is(tmp_path, monkeypatch):
    run, assets = tmp_path / "paper", tmp_path / "assets"
    save_with_class(HamiltonianWorldModel(n_frames=3), run / "20_world_model" / "world_model_pendulum")
    (run / "results.json").write_text(json.dumps({"run": {}, "results": {"20_world_model": {}}}))
    publish_models(run, assets)
    monkeypatch.setattr("hjepa_utils.experiment.shipped.ASSETS", assets)
    assert load_model("world_model_pendulum").n_frames == 3
