"""The trained models that ship predict as well as the published ones, in the encoder's units."""

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hjepa_utils import (
    BaselineMLP,
    HamiltonianDynamics,
    InEncoderUnits,
    encode_video,
    load_encoder,
    load_model,
    make_windows,
    render_frames,
    shipped_models,
    simulate_collisions,
)
from hjepa_utils.experiment.shipped import ASSETS, load_with_class, save_with_class
from hjepa_utils.latents.windows import Standardiser


def test_the_names_are_those_of_the_folders():
    assert {"hnn", "mlp"} <= set(shipped_models())
    with pytest.raises(ValueError, match=r"no model 'HNN' ships with the project; there .*, hnn, .*, mlp"):
        load_model("HNN")


@pytest.mark.parametrize(("name", "kind"), [("hnn", HamiltonianDynamics), ("mlp", BaselineMLP)])
def test_rollouts_are_those_of_standardised_latents(name, kind):
    model = load_model(name)
    assert isinstance(model.dynamics, kind) and not model.training
    z = torch.randn(3, 192, generator=torch.manual_seed(0))
    with torch.no_grad():
        within = model.dynamics.rollout((z - model.mean) / model.scale, 4)
        torch.testing.assert_close(model.rollout(z, 4), within * model.scale + model.mean)


def test_contact_dynamics_predict_a_fresh_video_of_the_simulator():
    states = torch.from_numpy(simulate_collisions(61, rng=np.random.default_rng(123)))[::4]
    z = torch.cat([states[..., :2].flatten(1), states[..., 2:].flatten(1)], dim=1)  # px, then px/s
    model = load_model("contact")
    with torch.no_grad():
        torch.testing.assert_close(model.rollout(z[0], 15), z, atol=1e-8, rtol=0)
    assert len(model.dynamics.surfaces) == 9


def test_what_is_saved_with_its_standardiser_comes_back(tmp_path, monkeypatch):
    mlp, standardiser = BaselineMLP(4, (8,)), Standardiser(torch.arange(4.0), torch.full((4,), 2.0))
    InEncoderUnits(mlp, standardiser).save_pretrained(tmp_path / "small")
    monkeypatch.setattr("hjepa_utils.experiment.shipped.ASSETS", tmp_path)
    assert shipped_models() == ["small"]
    z = torch.randn(5, 4, generator=torch.manual_seed(1))
    expected = InEncoderUnits(mlp, standardiser).rollout(z, 3)
    torch.testing.assert_close(load_model("small").rollout(z, 3), expected, rtol=0, atol=0)


def test_on_a_fresh_video_the_mlp_beats_persistence_and_the_hnn_keeps_its_energy():
    states = simulate_collisions(rng=np.random.default_rng(123))
    latents = encode_video(
        load_encoder("embedded", device="cpu"), torch.from_numpy(render_frames(states)).movedim(-1, 1)
    )
    windows = make_windows(latents, 16)
    hnn, mlp = load_model("hnn"), load_model("mlp")
    with torch.no_grad():
        error = (mlp.rollout(windows[:, 0], 15) - windows).square().mean()
        energy = hnn.dynamics.energy(hnn.standardiser(hnn.rollout(windows[:, 0], 15)))
        spread = hnn.dynamics.energy(hnn.standardiser(latents)).std()
    assert error < (windows[:, :1] - windows).square().mean()
    assert (energy - energy[:, :1]).abs().max() < spread


def test_a_model_without_a_standardiser_comes_back_as_it_is(tmp_path):
    mlp = BaselineMLP(4, (8,))
    InEncoderUnits(mlp, Standardiser.identity(4)).save_pretrained(tmp_path / "small")
    save_with_class(mlp, tmp_path / "small")  # over another model, which had one
    again = load_with_class(tmp_path / "small")
    assert isinstance(again, BaselineMLP) and not again.training
    z = torch.randn(5, 4, generator=torch.manual_seed(1))
    torch.testing.assert_close(again.rollout(z, 3), mlp.rollout(z, 3), rtol=0, atol=0)


def rewritten(folder, change):
    """Every file of weights in a folder, changed by name."""
    for file in folder.rglob("*.safetensors"):
        weights = load_file(file)
        save_file({name: change(k, tensor) for k, (name, tensor) in enumerate(weights.items())}, file)


@pytest.mark.parametrize("kind", [torch.int8, torch.int64, torch.bool, torch.float8_e4m3fn, torch.complex64])
@pytest.mark.parametrize("n_changed", [1, 100])
@pytest.mark.parametrize("name", ["mlp", "hnn", "contact", "hierarchical", "hgan_pendulum"])
def test_weights_that_are_no_floating_point_numbers_are_refused(tmp_path, name, kind, n_changed):
    shutil.copytree(ASSETS / name, tmp_path, dirs_exist_ok=True)
    rewritten(tmp_path, lambda k, tensor: tensor.to(kind) if k < n_changed else tensor)
    with pytest.raises(ValueError, match=r"safetensors holds .* in \w+: .*save it in float32") as refused:
        load_with_class(tmp_path)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "kinds", [["float16"], ["bfloat16"], ["float64"], ["float16", "bfloat16"], ["float64", "half"]]
)
def test_weights_of_every_precision_are_read_with_their_values(tmp_path, kinds):
    """Of several precisions in one file the one that holds all: 16 bits of either kind fit into 32."""
    shutil.copytree(ASSETS / "mlp", tmp_path, dirs_exist_ok=True)
    rewritten(tmp_path, lambda k, tensor: tensor.to(getattr(torch, kinds[k % len(kinds)])))
    weights = load_file(tmp_path / "model.safetensors")
    read = BaselineMLP.from_pretrained(tmp_path).state_dict()
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name].double(), tensor.double()) for name, tensor in weights.items())


def test_a_standardiser_that_is_damaged_or_anothers_is_named(tmp_path):
    shutil.copytree(ASSETS / "mlp", tmp_path, dirs_exist_ok=True)
    file = tmp_path / "standardiser.safetensors"
    save_file({"mean": torch.zeros(192)}, file)
    with pytest.raises(ValueError, match=rf"{file} holds \['mean'\], not mean and scale"):
        load_with_class(tmp_path)
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(ValueError, match=f"{file} is damaged"):
        load_with_class(tmp_path)
