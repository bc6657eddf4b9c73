"""Models in a folder: safetensors for the weights, json for what built them."""

import json
from functools import reduce
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from ..runs.files import explain_write_error, write_atomically, write_json
from ..runs.weights import read_weights

DYNAMICS = "dynamics.json"  # what moves a saved Hamiltonian: `HamiltonianDynamics.save_pretrained`


class SavedModel(nn.Module):
    """`save_pretrained(folder)` and `from_pretrained(folder)`; subclasses name their arguments in `config`.

    `model.safetensors` holds the weights in their dtype, `config.json` the arguments of the class.
    """

    def config(self):
        """The constructor's arguments, JSON-able: {name: value}."""
        raise NotImplementedError

    def save_pretrained(self, folder):
        """Write both files, the weights first. Raises `OSError` where the folder cannot be written.

        A step and a dt that were saved there with another model are removed.
        """
        folder = Path(folder).expanduser()
        with explain_write_error(folder, "name a folder that can be written"):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / DYNAMICS).unlink(missing_ok=True)
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        write_atomically(folder / "model.safetensors", lambda file: save_file(weights, file))
        write_json(folder / "config.json", self.config())

    @classmethod
    def from_pretrained(cls, folder):
        """Load what `save_pretrained` wrote, on the CPU.

        Raises `FileNotFoundError` if it is not there, `ValueError` if it is damaged, quantised or of
        another model.
        """
        folder = Path(folder).expanduser()
        file = folder / "model.safetensors"
        if not file.is_file():
            raise FileNotFoundError(f"no saved model in {folder}")
        config = read_config(folder / "config.json")
        try:
            model = cls(**config)
            integers = {name for name, own in model.state_dict().items() if not own.is_floating_point()}
        except (TypeError, ValueError, RuntimeError) as error:
            raise _another_model(cls, folder, error) from error
        weights = read_weights(file, integers)
        try:
            floats = [tensor.dtype for name, tensor in weights.items() if name not in integers]
            model = model.to(reduce(torch.promote_types, floats))  # of several kinds the one that holds all
            model.load_state_dict(weights)
        except (TypeError, ValueError, RuntimeError) as error:  # no weights, other names or shapes
            raise _another_model(cls, folder, error) from error
        return model


def _another_model(cls, folder, error):
    return ValueError(f"{folder} holds another model than {cls.__name__}: {' '.join(str(error).split())}")


def read_config(file):
    """The json object in a file. `ValueError` with its path if it is missing or damaged."""
    try:
        config = json.loads(file.read_text())
    except FileNotFoundError as error:
        raise ValueError(f"{file} is missing: save the model again") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged: save the model again") from error
    if not isinstance(config, dict):
        raise ValueError(f"{file} is damaged, it holds no json object: save the model again")
    return config
