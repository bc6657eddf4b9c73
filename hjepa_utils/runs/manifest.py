"""What a finished notebook leaves: the hashes of its files, and what they were made from."""

import platform
from importlib.metadata import version
from pathlib import Path, PurePosixPath

from .checkpoints import is_state
from .files import ArtifactError, file_hash, read_json, write_json
from .fingerprint import digest

_PACKAGES = ("torch", "torchcodec", "transformers", "numpy", "opencv-python-headless", "scikit-learn")
_KEYS = {"notebook", "scale", "seed", "settings", "inputs", "digest", "files"}


def write_manifest(folder, about):
    """Write `folder/manifest.json`: `about` (notebook, scale, seed, settings, inputs), versions, hashes.

    Hashed is what a later notebook may read. That leaves out trainings' states, the copies of figures
    and results in `shown`, `begun.json`, and the manifest itself.
    """
    names = {
        path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()
    }
    hashes = {
        name: file_hash(path)
        for name, path in names.items()
        if path.name not in ("begun.json", "manifest.json")
        and not is_state(path)
        and not name.startswith("shown/")
    }
    versions = {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}
    made = {"digest": _digest(about, hashes), "versions": versions, "files": hashes}
    write_json(folder / "manifest.json", about | made)


def read_manifest(path, again):
    """A manifest as it was written. `ArtifactError` if it is damaged or changed; `again` says what to do."""
    manifest = read_json(path, keys=_KEYS, advice=again)
    if not all(isinstance(manifest[key], dict) for key in ("files", "settings", "inputs")):
        raise ArtifactError(f"{path} is damaged: {again}")
    names = [PurePosixPath(name) for name in manifest["files"]]
    outside = any(name.is_absolute() or ".." in name.parts for name in names)
    if outside or manifest["digest"] != _digest(manifest, manifest["files"]):
        raise ArtifactError(f"{path} was changed by hand: {again}")
    return manifest


def verify_files(folder, manifest, again):
    """`ArtifactError` if a file of the manifest is missing, damaged or changed; `again` says what to do."""
    for name, recorded in manifest["files"].items():
        file = Path(folder) / name
        if not file.is_file():
            raise ArtifactError(f"{file} is missing: {again}")
        if file_hash(file) != recorded:
            raise ArtifactError(f"{file} is damaged or was changed: {again}")


def _digest(about, hashes):
    """One hash of all that a later notebook depends on."""
    return digest([{key: about[key] for key in ("settings", "seed", "inputs")}, hashes])
