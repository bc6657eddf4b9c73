"""One loop for every training: it saves its state, and goes on from it to the same bits.

A state is one safetensors file: never a pickle, never half of a state. Its name ends in eight digits of
the fingerprint of what the training was made from, so a training with other settings begins anew, and
going back to earlier ones finds their state again. Nothing removes a state but you.
"""

import json
import re
from glob import escape
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tqdm import tqdm

from .files import ArtifactError, explain_write_error, write_atomically
from .fingerprint import differences, digest

_OF_THE_DEVICE = ("fused", "capturable")  # settings of an optimiser that a state does not bring along


def resumable(
    file, n_steps, *, fingerprint, history, modules, optimisers=None, generators=None, tensors=None,
    every=1, label="", unit="step", shown=(),
):  # fmt: skip
    """Yield the steps that are still to do, of 0 … n_steps - 1, and save after every `every`-th and the last.

        for step in resumable(file, 100, fingerprint=…, history=history, modules={"model": model}, …):
            …                                              # draw from a seed that holds `step`
            history.append({"loss": loss.item()})          # JSON-able; `shown` keys are on the progress bar

    `modules` and `optimisers` are {name: module or optimiser}, `generators` {name: torch.Generator} and
    `tensors` {name: tensor, changed in place}: all that a step changes. `file` is where the state goes,
    as `state_file` names it; None keeps no state. `fingerprint` is a JSON-able dict of all that decides
    the outcome: `fingerprint.differences` with the state of another one is printed in one line.
    A step that raises is not saved. Raises `ArtifactError` for a damaged state.
    """
    parts = [modules, optimisers or {}, generators or {}, tensors or {}]
    fingerprint = json.loads(json.dumps(fingerprint))  # as it comes back: a tuple is a list
    path = state_file(file, fingerprint) if file else None
    done = _restore(path, fingerprint, history, n_steps, *parts) if path and path.exists() else 0
    if path and not path.exists():
        _say_what_is_kept(Path(file).expanduser().stem, path, fingerprint, label)
    if done == n_steps:
        return  # without a bar that never moves
    with tqdm(range(done, n_steps), desc=label, unit=unit, initial=done, total=n_steps) as progress:
        for step in progress:
            yield step
            progress.set_postfix({key: f"{np.mean(history[-1][key]):.3f}" for key in shown})
            if path and ((step + 1) % every == 0 or step + 1 == n_steps):
                _save(path, step + 1, fingerprint, history, *parts)


def state_file(file, fingerprint):
    """`training.safetensors` → `training-1a2b3c4d.state.safetensors`, by the fingerprint."""
    file = Path(file).expanduser()
    return file.with_name(f"{file.stem}-{digest(fingerprint)[:8]}.state.safetensors")


def steps_done(file, fingerprint):
    """After how many steps the state of exactly this training was kept; 0 without one."""
    path = state_file(file, json.loads(json.dumps(fingerprint))) if file else None
    return _read(path, with_tensors=False)[0]["done"] if path and path.exists() else 0


def is_state(path):
    """Whether a file is a training's state by its name: what goes on, not what is handed on."""
    return re.fullmatch(r".+-[0-9a-f]{8}\.state\.safetensors", path.name) is not None


def _save(path, done, fingerprint, history, modules, optimisers, generators, tensors):
    saved = {f"tensor/{name}": tensor for name, tensor in tensors.items()}
    saved |= {f"generator/{name}": generator.get_state() for name, generator in generators.items()}
    for name, module in modules.items():
        saved |= {f"module/{name}/{key}": tensor for key, tensor in module.state_dict().items()}
    groups = {}
    for name, optimiser in optimisers.items():
        state = optimiser.state_dict()
        groups[name] = [_plain(group) for group in state["param_groups"]]
        for index, moments in state["state"].items():
            saved |= {f"optimiser/{name}/{index}/{key}": tensor for key, tensor in moments.items()}
    saved = {key: tensor.detach().to("cpu", copy=True).contiguous() for key, tensor in saved.items()}
    words = {"done": done, "fingerprint": fingerprint, "history": history, "groups": groups}
    with explain_write_error(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda p: save_file(saved, p, metadata={"training": json.dumps(words)}))


def _restore(path, fingerprint, history, n_steps, *parts):
    """Set everything to the saved state; how many steps are done."""
    words, saved = _read(path)
    if words["fingerprint"] != fingerprint:
        raise ArtifactError(f"{path} is of another training: move it away, and this one begins anew")
    if words["done"] > n_steps:
        raise ArtifactError(
            f"{path} is after step {words['done']} of {n_steps}: move it away, and the training begins anew"
        )
    try:
        _set(words, saved, *parts)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{path} does not fit what is trained: delete it, and the training begins anew"
        ) from error
    history[:] = words["history"]
    return words["done"]


def _set(words, saved, modules, optimisers, generators, tensors):
    """Set everything to what a state says in words and in tensors."""

    def below(prefix):
        return {key.removeprefix(prefix): value for key, value in saved.items() if key.startswith(prefix)}

    for name, module in modules.items():
        module.load_state_dict(below(f"module/{name}/"))
    for name, optimiser in optimisers.items():
        state = optimiser.state_dict() | {"state": {}}
        for group, kept in zip(state["param_groups"], words["groups"][name], strict=True):
            kept = {k: v for k, v in kept.items() if k not in _OF_THE_DEVICE}
            group |= {k: tuple(v) if isinstance(v, list) else v for k, v in kept.items()}
        for key, tensor in below(f"optimiser/{name}/").items():  # AdamW reads its counts on the CPU
            index, moment = key.split("/")
            state["state"].setdefault(int(index), {})[moment] = tensor
        optimiser.load_state_dict(state)
        _lay_out_like_weights(optimiser)
    for name, generator in generators.items():
        generator.set_state(saved[f"generator/{name}"])
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(saved[f"tensor/{name}"])


def _lay_out_like_weights(optimiser):
    """Moments in the memory order of their weights: files do not keep it, and fused steps rely on it."""
    for parameter, state in optimiser.state.items():
        for key, moment in state.items():
            if moment.shape == parameter.shape:
                laid_out = torch.empty_like(parameter, dtype=moment.dtype, device=moment.device)
                state[key] = laid_out.copy_(moment)


def _read(path, *, with_tensors=True):
    """What a state says in words, and its tensors by name, on the CPU."""
    try:
        with safe_open(path, "pt") as opened:
            words = json.loads(opened.metadata()["training"])
            saved = {key: opened.get_tensor(key) for key in opened.keys()} if with_tensors else {}  # noqa: SIM118
            kinds = {"done": int, "fingerprint": dict, "history": list, "groups": dict}
            if not all(isinstance(words[key], kind) for key, kind in kinds.items()) or words["done"] < 0:
                raise ValueError("other words than a state's")
            return words, saved
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError(f"{path} is damaged: delete it, and the training begins anew") from error
    except OSError as error:  # such as a folder of that name
        reason = error.strerror or error
        raise ArtifactError(
            f"{path} cannot be read ({reason}): move it away, and the training begins anew"
        ) from error


def _say_what_is_kept(stem, path, fingerprint, label):
    """One line if there is the state of another training: what differs, and where it is kept."""
    named = path.parent.glob(f"{escape(stem)}-????????.state.safetensors")
    others = [other for other in named if other.is_file()]
    if not others:
        return
    newest = max(others, key=lambda other: other.stat().st_mtime)
    try:
        before = _read(newest, with_tensors=False)[0]["fingerprint"]
        differ = f"was made with other settings ({differences(before, fingerprint)})"
        if before == fingerprint:
            differ = f"is the same, goes on if it is renamed {path.name},"
    except ArtifactError:
        differ = "does not say what it was made from"
    print(f"{label or stem} begins anew: its earlier training {differ} and is kept in {newest.name}")


def _plain(group):
    """An optimiser's settings as JSON: a rate may be a tensor on a GPU."""
    return {k: v.item() if isinstance(v, torch.Tensor) else v for k, v in group.items() if k != "params"}
