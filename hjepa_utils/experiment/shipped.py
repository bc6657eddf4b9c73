"""Trained models that ship, by `load_model(name)`; predictors of latents with what standardises these."""

from importlib import import_module
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from ..dynamics.saved import read_config
from ..latents.windows import Standardiser
from ..runs.files import write_atomically, write_json
from ..runs.weights import read_weights

ASSETS = Path(__file__).parents[1] / "assets"
_PREDICTOR, _STANDARDISER = "predictor.json", "standardiser.safetensors"


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

    def save_pretrained(self, folder):
        """Save both; the class of `dynamics` reads its own part of the folder by `from_pretrained`."""
        folder = Path(folder).expanduser()
        save_with_class(self.dynamics, folder)
        tensors = {"mean": self.mean.cpu(), "scale": self.scale.cpu()}
        write_atomically(folder / _STANDARDISER, lambda file: save_file(tensors, file))

    @classmethod
    def from_pretrained(cls, folder):
        """Load what `save_pretrained` wrote, on the CPU. Raises `ValueError` if it is missing or damaged."""
        folder = Path(folder).expanduser()
        tensors = read_weights(folder / _STANDARDISER)
        if tensors.keys() != {"mean", "scale"}:
            raise ValueError(
                f"{folder / _STANDARDISER} holds {sorted(tensors)}, not mean and scale: save the model again"
            )
        return cls(_of_its_class(folder), Standardiser(**tensors)).eval()


def save_with_class(model, folder):
    """`model.save_pretrained(folder)`, and its class beside it, for `load_with_class`."""
    folder, kind = Path(folder).expanduser(), type(model)
    model.save_pretrained(folder)
    (folder / _STANDARDISER).unlink(missing_ok=True)  # of another model
    write_json(folder / _PREDICTOR, {"class": f"{kind.__module__}.{kind.__qualname__}"})


def load_with_class(folder):
    """The model in a folder, on the CPU: as `InEncoderUnits` if it has a standardiser, else by itself."""
    folder = Path(folder).expanduser()
    if (folder / _STANDARDISER).exists():
        return InEncoderUnits.from_pretrained(folder)
    return _of_its_class(folder).eval()


def _of_its_class(folder):
    module, _, kind = read_config(folder / _PREDICTOR)["class"].rpartition(".")
    return getattr(import_module(module), kind).from_pretrained(folder)


def shipped_models():
    """The names that `load_model` knows."""
    return sorted(file.parent.name for file in ASSETS.glob(f"*/{_PREDICTOR}"))


def load_model(name):
    """The trained model of that name, on the CPU; predictors of latents as `InEncoderUnits`.

    "hnn" and "mlp" are notebook 3's, trained at the paper's scale with seed 0 on latents of the embedded
    encoder, D = 192. Their test errors are the published ones but for rounding: 1.331 and 0.999, where
    that run has 1.331 and 1.002. "contact" is notebook 10's `ContactDynamics` of two balls, D = 8: positions
    in px and then velocities in px/s, a step is 2/15 s. "contact_latents" is notebook 11's `ContactLatents`,
    D = 192: of its searches, a sure one that reads held-out training videos best. "world_model_pendulum" and
    "world_model_balls" are the `HamiltonianWorldModel`s of notebooks 20 and 22, "hierarchical" is the
    `HierarchicalJEPA` of notebook 30. "hgan_angle_pendulum", "hgan_pendulum", "hnngan_pendulum",
    "mocogan_pendulum" and "hgn_pendulum" are notebook 41's generators of videos, with
    `sample(n, n_frames, rng=rng)`. Raises `ValueError` with the names there are for another one.
    """
    if name not in shipped_models():
        raise ValueError(f"no model {name!r} ships with the project; there are {', '.join(shipped_models())}")
    return load_with_class(ASSETS / name)
