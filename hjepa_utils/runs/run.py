"""A notebook's run: hardware, seeds, artifacts with manifests, results.

    artifacts/quick/03_train_hnn/                      what notebook 3 made, with seed 0
    artifacts/quick/results.json, figures/             the numbers and figures of all notebooks
    artifacts/quick/earlier/03_train_hnn, 1a2b3c4d/    what it made with other settings or inputs
    artifacts/quick, seed 7/…                          the same for another seed

Other settings never remove or write over what is finished: its folder is moved to `earlier`, with the
figures and results that it made, and comes back when its settings do. To free space, delete folders in
`earlier`, or states of trainings (`training-1a2b3c4d.state.safetensors`), by hand.
"""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import torch

from . import locks
from .checks import checked_seed
from .earlier_notebooks import run_missing
from .files import ArtifactError, explain_write_error, json_text, read_json, write_atomically, write_json
from .fingerprint import differences, digest
from .hardware import hardware, pick_device
from .manifest import read_manifest, verify_files, write_manifest
from .places import checked_figure, checked_notebook, scale_folder
from .results import add_results, read_results

SCALES = ("quick", "paper")


@dataclass
class Run:
    """One notebook's run: where its files are and what they were made from."""

    notebook: str
    scale: str
    seed: int
    device: torch.device
    folder: Path
    fingerprint: dict = field(default_factory=dict)
    _lock: locks.Lock | None = field(default=None, repr=False)

    @property
    def scale_folder(self):
        return self.folder.parent

    def choose(self, **table):
        """This scale's column of a table of settings: `name=(quick, paper)`, or one value for both."""
        for name, row in table.items():
            if isinstance(row, tuple) and len(row) != len(SCALES):
                raise ValueError(f"{name} must be one value, or a pair for {SCALES}, got {row}")
        column = SCALES.index(self.scale)
        chosen = {name: row[column] if isinstance(row, tuple) else row for name, row in table.items()}
        return SimpleNamespace(**chosen)

    def begin(self, settings, *, inputs=()):
        """Declare what this notebook's artifacts depend on, and go on with those made from the same.

        `settings` is a JSON-able dict, `inputs` the names of earlier notebooks. What was made from other
        settings or inputs is moved to `earlier`, with one printed line; what was once made from these
        comes back from there. Returns the folders of the inputs, verified, in their order.
        Raises `ArtifactError` if another process runs this notebook here, for inputs that are missing,
        stale or damaged, and for a folder in its place that is no run's.
        """
        if isinstance(inputs, str):
            raise TypeError(f"inputs must be a list of notebooks, got {inputs!r}: write [{inputs!r}]")
        if not isinstance(settings, dict):
            raise TypeError(f"settings must be a dict, got {settings!r}")
        verified = [self._verified(notebook) for notebook in inputs]
        digests = {manifest["notebook"]: manifest["digest"] for _, manifest in verified}
        settings = json.loads(json_text(settings))
        self.fingerprint = {"settings": settings, "seed": self.seed, "inputs": digests}
        self._keep_others_out()
        with explain_write_error(self.folder):
            self._put_earlier_aside()
            self._bring_back()
            self.folder.mkdir(parents=True, exist_ok=True)
            for unfinished in self.folder.rglob(".unfinished-*"):
                if not unfinished.is_dir():
                    unfinished.unlink()
        write_json(self.folder / "begun.json", self.fingerprint)
        return [folder for folder, _ in verified]

    def _keep_others_out(self):
        """Runs of two processes in one folder would destroy each other's files.

        The lock is held until `finish` of the last run of this notebook here, or the process ends.
        """
        with explain_write_error(self.folder):
            self.scale_folder.mkdir(parents=True, exist_ok=True)
            try:
                self._lock = locks.acquire(self.scale_folder / f".{self.notebook}.lock")
            except locks.Locked as locked:
                raise ArtifactError(
                    f"another run ({locked.owner}) uses {self.folder}: wait for it, or end it or "
                    "its kernel, or set HJEPA_ARTIFACTS to another folder"
                ) from None

    def _put_earlier_aside(self):
        """Move what was made from something else to `earlier`."""
        begun = self.folder / "begun.json"
        names = [file.name for file in self.folder.iterdir()] if self.folder.exists() else []
        if all(name == "shown" or name.startswith(".unfinished-") for name in names):
            return
        if not begun.exists():
            raise ArtifactError(
                f"{self.folder} has files but no begun.json, so no run made it: move it elsewhere"
            )
        before = read_json(begun, advice=f"move the folder {self.folder} elsewhere")
        if before == self.fingerprint:
            return
        kept = self._earlier(before)
        if kept.exists():
            raise ArtifactError(f"{kept} exists already: move it or {self.folder} elsewhere")
        kept.parent.mkdir(exist_ok=True)
        self.folder.rename(kept)
        differ = differences(before, self.fingerprint)
        print(f"{self.notebook} begins anew ({differ}): its earlier artifacts are kept in {_short(kept)}")

    def _bring_back(self):
        """Move what was once made from the same back from `earlier`."""
        kept = self._earlier(self.fingerprint)
        if not kept.exists() or (self.folder / "begun.json").exists():
            return
        if self.folder.exists():  # left by a `begin` that was interrupted; at most `shown` is in it
            shutil.copytree(self.folder, kept, dirs_exist_ok=True)
            shutil.rmtree(self.folder)
        kept.rename(self.folder)
        print(f"{self.notebook}: went back to these settings; its artifacts are used again")

    def _earlier(self, fingerprint):
        return self.scale_folder / "earlier" / f"{self.notebook}, {digest(fingerprint)[:8]}"

    def finish(self):
        """Write the manifest: settings, seed, inputs, versions, and hashes of what later notebooks read."""
        if not self.fingerprint:
            raise ArtifactError(f"{self.notebook} has not begun: call begin(settings) before finish()")
        write_manifest(self.folder, {"notebook": self.notebook, "scale": self.scale, **self.fingerprint})
        self._lock = None

    def settings_of(self, notebook):
        """The settings an earlier notebook ran with."""
        return self._manifest(notebook)["settings"]

    def verified_input(self, notebook):
        """The folder of an earlier notebook, with every file and its own inputs as recorded."""
        return self._verified(notebook)[0]

    def _verified(self, notebook):
        """The folder and the manifest of an earlier notebook."""
        manifest, folder = self._manifest(notebook), self.scale_folder / notebook
        again = self._again(notebook)
        verify_files(folder, manifest, again)
        for earlier, recorded in manifest["inputs"].items():
            if self._manifest(earlier)["digest"] != recorded:
                since = self._changes_since(earlier, recorded)
                raise ArtifactError(f"{folder} is stale, {earlier} has been run since{since}: {again}")
        return folder, manifest

    def _again(self, notebook):
        return f"run notebook {notebook} again (SCALE = {self.scale!r}, SEED = {self.seed})"

    def _changes_since(self, notebook, recorded):
        """In words, with which other settings; "" if the run with this digest is no longer in `earlier`."""
        for path in (self.scale_folder / "earlier").glob(f"{notebook}, */manifest.json"):
            before = read_manifest(path, "delete its folder")
            if before["digest"] == recorded:
                return f" with other settings ({differences(before['settings'], self.settings_of(notebook))})"
        return ""

    def save_figure(self, figure, name):
        """Save as `<scale>/figures/<name>.png`; a notebook shows the open figure by itself.

        Raises `ValueError` for a name that leads to another folder.
        """
        self.save_picture(f"{checked_figure(name)}.png", lambda path: figure.savefig(path, format="png"))

    def save_picture(self, name, write):
        """Save what `write(path)` writes as `<scale>/figures/<name>`, with its suffix: a GIF, say."""
        name = checked_figure(name)
        shown, own = (folder / name for folder in (self.scale_folder / "figures", self._shown()))
        with explain_write_error(shown.parent):
            shown.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(shown, write)
        write_atomically(own, lambda path: shutil.copyfile(shown, path))

    def save_results(self, results, *, wall_clock=None, **context):
        """Put this notebook's numbers into `<scale>/results.json`, the only source of published ones.

        `context` (the encoder, say) is shared by the notebooks. Measured times go to `wall_clock`,
        apart from what is the same in every run.
        """
        of_run = {"scale": self.scale, "seed": self.seed, "hardware": hardware(self.device), **context}
        own = {"run": of_run, "results": results} | ({} if wall_clock is None else {"wall_clock": wall_clock})
        write_json(self._shown() / "results.json", own)
        add_results(self.scale_folder / "results.json", self.notebook, of_run, results, wall_clock)

    def results_of(self, notebook):
        """What an earlier notebook saved."""
        path = self.scale_folder / "results.json"
        results = read_results(path)["results"]
        if notebook not in results:
            raise ArtifactError(f"{path} has no results of {notebook}: run that notebook first")
        return results[notebook]

    def _shown(self):
        """Where the notebook's own copies of its figures and results are, to go along with its folder."""
        folder = self.folder / "shown"
        with explain_write_error(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _manifest(self, notebook):
        folder = self.scale_folder / notebook
        path, again = folder / "manifest.json", self._again(notebook)
        if not path.is_file():
            wanted = f"SCALE = {self.scale!r}, SEED = {self.seed}"
            raise ArtifactError(
                f"{path} is missing: run notebook {notebook} first ({wanted}), "
                "or set HJEPA_ARTIFACTS to the folder in which it was run"
            )
        manifest = read_manifest(path, again)
        of_run = (manifest["notebook"], manifest["scale"], manifest["seed"])
        if of_run != (notebook, self.scale, self.seed):
            raise ArtifactError(f"{folder} was made by another run ({of_run[1]}, seed {of_run[2]}): {again}")
        return manifest


def _short(path):
    """A path below the scale's folder, for printing: no folder of the machine."""
    return "/".join(path.parts[-2:])


def start_run(notebook, *, scale, seed, after=()):
    """Begin a notebook's run.

    `after`: the numbers of the notebooks that this one stands on, in order. At quick scale those that
    have not run yet are run first, so that each notebook can be opened alone; see `run_missing`.
    Raises `ValueError` for an unknown scale, a seed not in 0 … 2³² - 1, or a notebook that cannot have
    a folder of its own under its name.
    """
    if scale not in SCALES:
        raise ValueError(f"SCALE must be one of {SCALES}, got {scale!r}")
    notebook, seed = checked_notebook(notebook), checked_seed(seed)
    run_missing(after, scale, seed)
    return Run(notebook, scale, seed, pick_device(), scale_folder(scale, seed) / notebook)
