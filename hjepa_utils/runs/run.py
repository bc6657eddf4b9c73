"""A notebook's run: hardware, seeds, artifacts with manifests, results, checks."""

import hashlib
import json
import math
import os
import platform
import shutil
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import torch

from .files import ArtifactError, file_hash, read_json, saying_where, write_atomically, write_json
from .hardware import hardware, pick_device

ROOT = Path(__file__).resolve().parents[2]
SCALES = ("quick", "paper")
_PACKAGES = ("torch", "torchcodec", "transformers", "numpy", "opencv-python-headless", "scikit-learn")
_MANIFEST_KEYS = {"notebook", "scale", "seed", "settings", "inputs", "digest", "files"}


@dataclass
class Run:
    """One notebook's run: where its files are and what they were made from."""

    notebook: str
    scale: str
    seed: int
    device: torch.device
    folder: Path
    fingerprint: dict = field(default_factory=dict)

    @property
    def scale_folder(self):
        return self.folder.parent

    def choose(self, **table):
        """This scale's column of a table of settings, `name=(quick, paper)`."""
        return SimpleNamespace(**{name: row[SCALES.index(self.scale)] for name, row in table.items()})

    def begin(self, settings, *, inputs=()):
        """Declare what this notebook's artifacts depend on, and keep only those made from the same.

        `settings` is a JSON-able dict, `inputs` the names of earlier notebooks. Finished parts of
        an interrupted run with the same settings and inputs stay, so that loops can go on.
        Returns the folders of the inputs, verified, in their order.
        """
        folders = [self.verified_input(notebook) for notebook in inputs]
        digests = {notebook: self._manifest(notebook)["digest"] for notebook in inputs}
        settings = json.loads(json.dumps(settings))
        self.fingerprint = {"settings": settings, "seed": self.seed, "inputs": digests}
        begun = self.folder / "begun.json"
        if self.folder.exists() and (not begun.exists() or read_json(begun) != self.fingerprint):
            print(f"settings or inputs of {self.notebook} changed: its earlier artifacts are removed")
            shutil.rmtree(self.folder)
        for unfinished in self.folder.rglob(".unfinished-*"):
            unfinished.unlink()
        with saying_where(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        write_json(begun, self.fingerprint)
        return folders

    def finish(self):
        """Write the manifest: settings, seed, inputs, versions, and the hash of every file."""
        files = sorted(p for p in self.folder.rglob("*") if p.is_file())
        hashes = {
            p.relative_to(self.folder).as_posix(): file_hash(p)
            for p in files
            if p.name not in ("begun.json", "manifest.json")
        }
        digest = hashlib.sha256(json.dumps([self.fingerprint, hashes], sort_keys=True).encode()).hexdigest()
        versions = {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}
        manifest = {"notebook": self.notebook, "scale": self.scale, **self.fingerprint}
        write_json(
            self.folder / "manifest.json",
            manifest | {"digest": digest, "versions": versions, "files": hashes},
        )

    def settings_of(self, notebook):
        """The settings an earlier notebook ran with."""
        return self._manifest(notebook)["settings"]

    def verified_input(self, notebook):
        """The folder of an earlier notebook, with every file and its own inputs as recorded."""
        manifest, folder = self._manifest(notebook), self.scale_folder / notebook
        again = f"run notebook {notebook} again (SCALE = {self.scale!r}, SEED = {self.seed})"
        if (
            manifest["notebook"] != notebook
            or manifest["scale"] != self.scale
            or manifest["seed"] != self.seed
        ):
            raise ArtifactError(f"{folder} was made by another run (seed {manifest['seed']}): {again}")
        for name, recorded in manifest["files"].items():
            if not (folder / name).is_file():
                raise ArtifactError(f"{folder / name} is missing: {again}")
            if file_hash(folder / name) != recorded:
                raise ArtifactError(f"{folder / name} is damaged or was changed: {again}")
        for earlier, digest in manifest["inputs"].items():
            if self._manifest(earlier)["digest"] != digest:
                raise ArtifactError(f"{folder} is stale, {earlier} has been run since: {again}")
        return folder

    def save_figure(self, figure, name):
        """Save as `<scale>/figures/<name>.png`; a notebook shows the open figure by itself."""
        folder = self.scale_folder / "figures"
        with saying_where(folder):
            folder.mkdir(exist_ok=True)
        write_atomically(folder / f"{name}.png", lambda p: figure.savefig(p, format="png"))

    def save_results(self, results, *, wall_clock=None, **context):
        """Put this notebook's numbers into `<scale>/results.json`, the only source of published ones.

        `context` (the encoder, say) is shared by the notebooks. Measured times go to `wall_clock`,
        apart from what is the same in every run.
        """
        path = self.scale_folder / "results.json"
        saved = read_json(path) if path.exists() else {}
        if saved.get("run", {}).get("seed", self.seed) != self.seed:
            saved = {}  # numbers of another seed do not belong beside these
        saved["run"] = saved.get("run", {}) | {
            "scale": self.scale,
            "seed": self.seed,
            "hardware": hardware(self.device),
            **context,
        }
        saved.setdefault("results", {})[self.notebook] = results
        if wall_clock is not None:
            saved.setdefault("wall_clock", {})[self.notebook] = wall_clock
        for part in ("results", "wall_clock"):
            saved[part] = dict(sorted(saved.get(part, {}).items()))
        write_json(path, saved)

    def results_of(self, notebook):
        """What an earlier notebook saved."""
        path = self.scale_folder / "results.json"
        saved = read_json(path) if path.exists() else {}
        if notebook not in saved.get("results", {}):
            raise ArtifactError(f"{path} has no results of {notebook}: run that notebook first")
        return saved["results"][notebook]

    def _manifest(self, notebook):
        path = self.scale_folder / notebook / "manifest.json"
        if not path.is_file():
            wanted = f"SCALE = {self.scale!r}, SEED = {self.seed}"
            raise ArtifactError(
                f"{path} is missing: run notebook {notebook} first ({wanted}), "
                "or set HJEPA_ARTIFACTS to the folder in which it was run"
            )
        manifest = read_json(path)
        if not isinstance(manifest, dict) or not manifest.keys() >= _MANIFEST_KEYS:
            raise ArtifactError(f"{path} is damaged: delete its folder and run its notebook again")
        return manifest


def start_run(notebook, *, scale, seed):
    """Begin a notebook's run. Raises `ValueError` for an unknown scale or a seed that is no integer."""
    if scale not in SCALES:
        raise ValueError(f"SCALE must be one of {SCALES}, got {scale!r}")
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"SEED must be a whole number from 0, got {seed!r}")
    return Run(notebook, scale, seed, pick_device(), artifacts_root() / scale / notebook)


def artifacts_root():
    """`notebooks/artifacts`, or where the environment variable HJEPA_ARTIFACTS says."""
    return Path(os.environ.get("HJEPA_ARTIFACTS") or ROOT / "notebooks" / "artifacts").expanduser().resolve()


def check(label, value, *, equals=None, at_least=None, at_most=None):
    """Print a verdict, or raise `AssertionError` so that a headless run fails loudly."""
    if equals is at_least is at_most is None:
        raise TypeError("check needs one of equals, at_least, at_most")
    shown = f"{value:.4g}" if isinstance(value, float) else value
    conditions = {
        "equal to": (equals, lambda: value == equals),
        "at least": (at_least, lambda: value >= at_least),
        "at most": (at_most, lambda: value <= at_most),
    }
    for words, (bound, holds) in conditions.items():
        if bound is not None and (not holds() or (isinstance(value, float) and math.isnan(value))):
            raise AssertionError(f"{label}: {shown}, expected {words} {bound}")
    wanted = ", ".join(f"{words} {bound}" for words, (bound, _) in conditions.items() if bound is not None)
    print(
        f"passed: {label} = {shown} ({wanted})" if isinstance(value, int) else f"passed: {label} ({wanted})"
    )
