"""Models in a folder: safetensors for the weights, json for what built them."""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ..runs.files import explain_write_error, write_atomically, write_json

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

        Raises `FileNotFoundError` if it is not there, `ValueError` if it is damaged or of another model.
        """
        folder = Path(folder).expanduser()
        file = folder / "model.safetensors"
        if not file.is_file():
            raise FileNotFoundError(f"no saved model in {folder}")
        config = read_config(folder / "config.json")
        try:
            weights = load_file(file)
            model = cls(**config).to(next(iter(weights.values())).dtype)
            model.load_state_dict(weights)
        except SafetensorError as error:
            raise ValueError(f"{file} is damaged ({error}): save the model again") from error
        except (TypeError, ValueError, RuntimeError, StopIteration) as error:  # arguments, names or shapes
            reason = " ".join(str(error).split())
            raise ValueError(f"{folder} holds another model than {cls.__name__}: {reason}") from error
        return model


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
