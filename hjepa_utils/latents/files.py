"""Files of latents: one safetensors file a video, with a manifest of what it was made from.

The file holds one tensor, "latents", float32 (n_clips, D), and in its metadata the manifest as JSON.
"""

import hashlib
import json
import re
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..runs.files import json_text, write_atomically
from .windows import first_not_finite

_BEGINNING = re.compile(rb'.{8}\{"__metadata__": ?\{"manifest": ?"', re.DOTALL)
_NOT_OURS = "holds no latents of this module: name another folder, or move it away"

_HOW = "encode videos first (notebook 02, or python -m hjepa_utils extract)"


def save_latents(path, latents, manifest):
    """Write one video's latents; the file appears under its name when it is complete.

    `manifest` is what `json_text` takes. Raises `ValueError` for a file in the way that is not from
    here, `OSError` if it cannot be written.
    """
    check_ours(path)
    metadata = {"manifest": json_text(manifest | {"latents_sha256": _digest(latents)})}
    elsewhere = "name a folder that can be written"
    write_atomically(path, lambda file: save_file({"latents": latents}, file, metadata=metadata), elsewhere)


def check_ours(path):
    """`ValueError` for anything in the way that `save_latents` did not write, so that it stays."""
    try:
        if path.exists() and not path.is_file():  # a folder; a pipe, which would never open
            raise ValueError(f"{path} {_NOT_OURS}")
        with open(path, "rb") as file:
            beginning = file.read(64)
    except FileNotFoundError:
        beginning = b"a link to nowhere" if path.is_symlink() else b""
    except OSError as error:
        raise ValueError(f"{path} {_NOT_OURS} ({error.strerror})") from error
    if beginning and not _BEGINNING.match(beginning):
        raise ValueError(f"{path} {_NOT_OURS}")


def read_manifest(path):
    """What the file was made from; None if there is no file or it is damaged, else as `check_ours`."""
    check_ours(path)
    try:
        with safe_open(path, framework="pt") as file:  # which refuses a truncated one
            manifest = json.loads(file.metadata()["manifest"])
            whole = _digest(file.get_tensor("latents")) == manifest["latents_sha256"]
            return manifest if whole else None
    except (OSError, SafetensorError):
        return None
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} {_NOT_OURS}") from error


def _digest(latents):
    return hashlib.sha256(latents.contiguous().numpy()).hexdigest()


def load_latents(folder):
    """All videos' embeddings in a folder of notebook 02 or `encode_folder`, by name.

    {name: float32 (n_clips, D)}. Files whose names begin with a dot are skipped. Warns of two
    files made from the same video. Raises `ValueError` with the path for a file that is damaged or
    holds something else, for NaN or infinity, and for files of two widths or made with two settings;
    `FileNotFoundError` if there is none.
    """
    folder = Path(folder).expanduser()
    paths = sorted(path for path in folder.glob("*.safetensors") if not path.name.startswith("."))
    if not paths:
        raise FileNotFoundError(f"no latents in {folder}: {_HOW}")
    latents, first_of, recipe = {}, {}, None
    for path in paths:
        latents[path.stem], manifest = _read(path)
        if (width := latents[path.stem].shape[1]) != (usual := latents[paths[0].stem].shape[1]):
            raise ValueError(f"{path} has width {width}, {paths[0].name} {usual}: they are of two encoders")
        recipe = recipe or manifest.get("recipe")
        if manifest.get("recipe", recipe) != recipe:
            raise ValueError(
                f"{path} was made with other settings than {paths[0].name}: encode all videos again"
            )
        twin = first_of.setdefault(manifest.get("video_sha256", path), path.stem)
        if twin != path.stem:
            message = f"{twin} and {path.stem} in {folder} are of the same video: remove one of the files"
            warnings.warn(message, stacklevel=2)
    return latents


def _read(path):
    """The latents of one file and the manifest, {} if it has none."""
    if not path.is_file():  # a pipe would never open
        raise ValueError(f"{path} is no file with latents: move it to another folder")
    try:
        with safe_open(path, framework="pt") as file:
            names, metadata = list(file.keys()), file.metadata() or {}
            clips = file.get_tensor("latents") if "latents" in names else None
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged ({error}): encode that video again") from error
    if clips is None:
        raise ValueError(f"{path} holds {names}, no latents: move it to another folder")
    if clips.dtype != torch.float32 or clips.ndim != 2 or 0 in clips.shape:
        raise ValueError(
            f"{path} holds {clips.dtype} {tuple(clips.shape)}; latents are float32 (n_clips, D), "
            "at least one clip: encode that video again"
        )
    if (clip := first_not_finite(clips)) is not None:
        raise ValueError(
            f"the latents of {path.stem} hold NaN or infinity at clip {clip}: encode that video again, {path}"
        )
    try:
        manifest = json.loads(metadata.get("manifest", "{}"))
    except (ValueError, RecursionError):
        manifest = {}  # another tool's
    return clips, manifest if isinstance(manifest, dict) else {}
