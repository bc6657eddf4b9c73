"""The state of an interrupted training, in one safetensors file: never a pickle, never half of a state."""

import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from .files import write_atomically


def save_training(file, model, optimiser, history):
    """Write weights, the optimiser's moments and the history (a JSON-able list) atomically."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": tensor for name, tensor in moments.items()}
    metadata = {"history": json.dumps(history)}
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, lambda path: save_file(tensors, path, metadata=metadata))


def restore_training(file, model, optimiser):
    """Set model and optimiser to the saved state; the history, or [] if there is no file."""
    if not Path(file).exists():
        return []
    tensors = load_file(file)  # AdamW reads its counts of updates on the CPU; the rest follows the model
    model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
    state = optimiser.state_dict() | {"state": {}}
    for key, tensor in tensors.items():
        if key.startswith("optimiser."):
            _, index, name = key.split(".")
            state["state"].setdefault(int(index), {})[name] = tensor
    optimiser.load_state_dict(state)
    with safe_open(file, "pt") as opened:
        return json.loads(opened.metadata()["history"])
