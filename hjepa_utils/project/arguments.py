"""What is to be run: which notebooks, with which parameters. Bad values are refused before the first."""

import ast
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import papermill
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ..latents.names import HUB_ID, PAPER_ENCODER
from ..latents.video import find_videos
from ..runs.checks import MAX_SEED
from ..runs.places import ROOT
from .own_videos import without_the_balls

OPTIONS = {"SCALE": "--scale", "ENCODER": "--encoder"}
_USE = "use auto, embedded, a hub id (owner/name or owner/name@revision), or a folder"


class Parameter(NamedTuple):
    """What a notebook's parameters cell declares: a literal, and its `# @param [...]` list, if any."""

    default: object
    choices: tuple = ()


def find_notebooks(start=None, only=()):
    """The numbered notebooks in order: from `start` on, or `only` some; named by number or name.

    `"3"`, `"03"` and `"03_train"` name the notebook `03_train_hnn`. `ValueError` if one is not there.
    """
    notebooks = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    if start is not None:
        return notebooks[notebooks.index(_named(start, notebooks)) :]
    wanted = {_named(name, notebooks) for name in only}
    return [path for path in notebooks if path in wanted or not wanted]


def _named(name, notebooks):
    for path in notebooks:
        if name and path.stem.startswith(name.zfill(2)):
            return path
    raise ValueError(f"no notebook begins with {name!r}; there are: {', '.join(p.stem for p in notebooks)}")


def declared_parameters(path):
    """Name → `Parameter` of the cell tagged `parameters`."""
    declared = {}
    for name, found in papermill.inspect_notebook(path).items():
        listed = re.match(r"@param\s*(\[[^]]*\])", found["help"])
        choices = ast.literal_eval(listed[1]) if listed else ()
        declared[name] = Parameter(ast.literal_eval(found["default"]), tuple(choices))
    return declared


def plan_run(scale, encoder, *, overrides=(), start=None, only=()):
    """Path → parameters to inject, for the notebooks that are to run.

    `overrides` are pairs (name, value as typed). Notebooks that are about the simulated balls are left
    out, and named, for videos of one's own. Raises `ValueError`, or `ConnectionError` if the hub must
    be asked for an encoder and does not answer.
    """
    overrides, notebooks = _once_each(overrides), find_notebooks(start, only)
    if overrides.get("VIDEO_DIR"):
        notebooks = without_the_balls(notebooks)
    declared = {path: declared_parameters(path) for path in notebooks}
    plan = plan_parameters(declared, {"SCALE": scale, "ENCODER": encoder}, overrides)
    if any("ENCODER" in parameters for parameters in declared.values()):
        named = check_encoder(encoder, scale)
        for parameters in plan.values():
            parameters |= {"ENCODER": named} if "ENCODER" in parameters else {}
    return plan


def _once_each(pairs):
    names = [name for name, _ in pairs]
    for name in names:
        if name in OPTIONS:
            raise ValueError(f"-p {name}: use {OPTIONS[name]} instead")
        if names.count(name) > 1:
            raise ValueError(f"-p {name} is given {names.count(name)} times: give it once")
    return dict(pairs)


def plan_parameters(declared, common, overrides):
    """Path → what to inject there: only declared parameters, only values other than the default.

    `declared` is path → name → `Parameter`; `common` and `overrides` are name → value as typed.
    Raises `ValueError` for an override that no notebook declares (papermill only warns), that is not
    of the default's type, or that the notebook would refuse.
    """
    known = sorted(set().union(*declared.values()) - set(common))
    for name in overrides:
        if name not in known:
            raise ValueError(f"-p {name}: no notebook has this parameter; there are: {', '.join(known)}")
    plan = {}
    for path, parameters in declared.items():
        wanted = {k: _parse(k, v, parameters[k]) for k, v in (common | overrides).items() if k in parameters}
        plan[path] = {k: v for k, v in wanted.items() if v != parameters[k].default}
    return plan


def _parse(name, text, parameter):
    """The value that is meant by what was typed."""
    if parameter.choices and text not in map(str, parameter.choices):
        raise ValueError(f"-p {name} is one of {', '.join(map(str, parameter.choices))}; got {text!r}")
    if name == "VIDEO_DIR":
        return _video_folder(text) if text else text
    if isinstance(parameter.default, str):
        return text
    value = None
    with suppress(ValueError, SyntaxError):
        value = int(text) if type(parameter.default) is int else ast.literal_eval(text)
    if type(value) is int and isinstance(parameter.default, float):
        value = float(value)
    if type(value) is not type(parameter.default):
        raise ValueError(f"-p {name} takes a value like {parameter.default!r}, got {text!r}")
    if name == "SEED" and value not in range(MAX_SEED + 1):
        raise ValueError(f"-p SEED is a whole number from 0 to {MAX_SEED}, got {text}")
    return value


def _video_folder(text):
    """A folder is meant from where the command was typed, not from the project's root."""
    folder = _resolved(text)
    try:
        find_videos(folder)
    except OSError as error:
        raise ValueError(f"{error}" if str(folder) in str(error) else f"{folder}: {error}") from error
    return str(folder)


def _resolved(text):
    """An absolute path. `ValueError` for an unknown ~user, links in a circle, or a name that is too long."""
    try:
        path = Path(text).expanduser().resolve()
        path.is_dir()
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"{text!r} cannot be a folder here: {error}") from error
    return path


def ships(encoder, scale):
    """Whether the encoder comes with the project, so that the hub need not be asked."""
    return encoder == "embedded" or (encoder, scale) == ("auto", "quick")


def check_encoder(name, scale):
    """The name, a folder's made absolute. Raises what `plan_run` does if it names no V-JEPA 2."""
    if ships(name, scale):
        return name
    folder = _resolved(name)
    if name and name != "auto" and folder.is_dir():
        if not any(folder.glob("*.safetensors")):
            raise ValueError(f"{folder} holds no model.safetensors: save the encoder with save_pretrained")
        _check_kind(folder, _kind(folder / "config.json"))
        return str(folder)
    hub_id = PAPER_ENCODER if name == "auto" else name
    if not HUB_ID.fullmatch(hub_id):
        raise ValueError(f"unknown encoder {name!r}: {_USE}")
    _check_kind(hub_id, _kind_on_the_hub(hub_id))
    return name


def _check_kind(name, kind):
    if kind != "vjepa2":
        what = f"a model of type {kind}" if kind else "no model with a config.json"
        raise ValueError(f"{name} is {what}, and a vjepa2 is needed: {_USE}")


def _kind(config):
    try:
        return json.loads(Path(config).read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _kind_on_the_hub(name):
    """From the local cache if it is there, else from the hub, asking once whether it answers."""
    repository, _, revision = name.partition("@")
    revision = revision or None
    with suppress(LocalEntryNotFoundError, HFValidationError):
        return _kind(hf_hub_download(repository, "config.json", revision=revision, local_files_only=True))
    try:
        return (HfApi().model_info(repository, revision=revision, timeout=10).config or {}).get("model_type")
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise ValueError(f"the hub has no public model {name!r}: {_USE}") from error
    except Exception as error:
        raise ConnectionError(
            f"{name} is not in the local cache and the hub cannot be reached ({type(error).__name__}): "
            "connect to the network, or use the encoder that needs none: --encoder embedded"
        ) from error
