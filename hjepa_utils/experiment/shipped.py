"""Trained models that ship with the project: `load_model(name)`, without a network."""

import json
from importlib import import_module
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ..latents.windows import Standardiser
from ..runs.files import write_atomically, write_json

ASSETS = Path(__file__).parents[1] / "assets"


class InEncoderUnits(nn.Module):
    """A predictor of standardised latents, for latents as an encoder gives them, (…, D).

    `dynamics` is the predictor itself, `standardiser` what its training data were standardised by.
    """

    mean: torch.Tensor  # (D,)
    scale: torch.Tensor

    def __init__(self, dynamics, standardiser):
        super().__init__()
        self.dynamics = dynamics
        self.register_buffer("mean", standardiser.mean)
        self.register_buffer("scale", standardiser.scale)

    @property
    def standardiser(self):
        return Standardiser(self.mean, self.scale)

    def rollout(self, z0, n_steps):
        """(…, D) → (…, n_steps + 1, D), in the encoder's units."""
        return self.standardiser.undo(self.dynamics.rollout(self.standardiser(z0), n_steps))


def ship(dynamics, standardiser, folder, **facts):
    """Save a trained predictor so that `load_model` finds it; `facts` say what it was trained on."""
    dynamics.save_pretrained(folder)
    tensors = {"mean": standardiser.mean.cpu(), "scale": standardiser.scale.cpu()}
    write_atomically(Path(folder) / "standardiser.safetensors", lambda file: save_file(tensors, file))
    kind = type(dynamics)
    write_json(Path(folder) / "shipped.json", {"class": f"{kind.__module__}.{kind.__qualname__}"} | facts)


def shipped_models():
    """The names that `load_model` knows."""
    return sorted(file.parent.name for file in ASSETS.glob("*/shipped.json"))


def load_model(name):
    """The trained predictor of that name, on the CPU, as `InEncoderUnits`.

    "hnn" and "mlp" are notebook 3's of the published run: latents of the embedded encoder, D = 192.
    Raises `ValueError` with the names there are for another one.
    """
    if name not in shipped_models():
        raise ValueError(f"no model {name!r} ships with the project; there are {', '.join(shipped_models())}")
    folder = ASSETS / name
    module, _, kind = json.loads((folder / "shipped.json").read_text())["class"].rpartition(".")
    dynamics = getattr(import_module(module), kind).from_pretrained(folder)
    with torch.no_grad():
        return InEncoderUnits(dynamics, Standardiser(**load_file(folder / "standardiser.safetensors"))).eval()
