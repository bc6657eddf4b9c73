"""Run the numbered notebooks in order: `python -m hjepa_utils run --help`."""

import argparse
import ast
import json
import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nbformat
import papermill
import psutil
from nbclient.exceptions import CellTimeoutError, DeadKernelError

from ..latents.names import HUB_ID
from ..runs.files import write_json
from ..runs.run import ROOT, SCALES, artifacts_root
from .publish import publish_costs, publish_figures, refresh_notebooks
from .readme import refresh_readme

CELL_TIMEOUT = {"quick": 1800, "paper": None}  # seconds a cell may take; a paper cell may take hours
# Nobody sees a kernel's progress bars, and saved ones differ in every run; nor advice on debuggers.
QUIET = {"HJEPA_HEADLESS": "1", "TQDM_DISABLE": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
NEED_TRUE_STATES = ("08_controls", "09_true_state")


class NotebookFailed(RuntimeError):
    """A notebook stopped; the message is one line: the cause, and where the executed copy is."""


@dataclass(frozen=True)
class Cost:
    """What a notebook took: wall time, and the peak memory of its kernel with all its children."""

    seconds: float
    peak_bytes: int

    def __str__(self):
        minutes, seconds = divmod(round(self.seconds), 60)
        return f"{minutes:4d}:{seconds:02d} min, peak {self.peak_bytes / 1e9:5.2f} GB"


def find_notebooks(start=""):
    """The numbered notebooks in order, from the one whose name begins with `start`."""
    notebooks = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    for i, path in enumerate(notebooks):
        if path.stem.startswith(start.zfill(2) if start else ""):
            return notebooks[i:]
    raise ValueError(f"no notebook begins with {start!r}; there are: {', '.join(p.stem for p in notebooks)}")


def declared_parameters(notebook):
    """Name → default of the literals assigned in the cell tagged `parameters`."""
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    lines = [node for cell in cells for node in ast.parse(cell.source).body if isinstance(node, ast.Assign)]
    return {line.targets[0].id: ast.literal_eval(line.value) for line in lines}


def plan_parameters(notebooks, common, overrides):
    """Path → what to inject there: only declared parameters, only values other than the default.

    `common` and `overrides` are name → value as typed. Raises `ValueError` for an override that no
    notebook declares (papermill only warns) or that is not of the default's type.
    """
    declared = {path: declared_parameters(nbformat.read(path, as_version=4)) for path in notebooks}
    known = sorted(set().union(*declared.values()) - set(common))
    for name in overrides:
        if name not in known:
            raise ValueError(f"-p {name}: no notebook has this parameter; there are: {', '.join(known)}")
    plan = {}
    for path, defaults in declared.items():
        wanted = {k: _parse(k, v, defaults[k]) for k, v in (common | overrides).items() if k in defaults}
        plan[path] = {k: v for k, v in wanted.items() if v != defaults[k]}
    return plan


def _parse(name, text, default):
    if isinstance(default, str):  # a folder is meant from where the command was typed, not from the root
        return str(Path(text).expanduser().resolve()) if name.endswith("_DIR") and text else text
    with suppress(ValueError, SyntaxError):
        value = ast.literal_eval(text)
        if type(value) is type(default) or (type(value) is int and isinstance(default, float)):
            return value
    raise ValueError(f"-p {name} takes a value like {default!r}, got {text!r}")


def check_encoder(name):
    """The name, a folder's made absolute. `ValueError` at once if it cannot name any encoder."""
    if name not in ("auto", "embedded") and Path(name).expanduser().is_dir():
        return str(Path(name).expanduser().resolve())
    if name in ("auto", "embedded") or HUB_ID.fullmatch(name):  # `load_encoder` knows if the hub has it
        return name
    raise ValueError(f"unknown encoder {name!r}: use auto, embedded, a hub id (owner/name), or a folder")


def run_notebook(path, executed, parameters=None, *, timeout=None):
    """Run one notebook from the project's root, leave the executed copy at `executed`; its `Cost`.

    The copy is there after a failure too, which is raised as `NotebookFailed`. papermill works in a
    second thread: in the first one nbclient would take Ctrl-C for a dead kernel.
    """
    executed.parent.mkdir(parents=True, exist_ok=True)
    unfinished = executed.with_name(f".unfinished-{executed.name}")
    options = {"kernel_name": "python3", "language": "python", "cwd": ROOT, "execution_timeout": timeout}
    options["extra_arguments"] = ["--log-level=CRITICAL"]  # it warns of its own transport and shutdown
    started, peak, kernels = time.monotonic(), 0, partial(psutil.Process().children, recursive=True)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(papermill.execute_notebook, path, unfinished, parameters, **options)
        try:
            while wait([future], timeout=0.2).not_done:
                peak = max(peak, sum(_resident_bytes(process) for process in kernels()))
            future.result()
        except Exception as error:
            where = f" (see {executed})" if unfinished.exists() else ""
            raise NotebookFailed(f"{path.stem}: {_cause(error, timeout)}{where}") from error
        finally:
            while not future.done():  # Ctrl-C: the kernel did not get it, or is only starting
                for process in kernels():
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
                wait([future], timeout=0.2)
            if unfinished.exists():
                unfinished.replace(executed)
    return Cost(time.monotonic() - started, peak)


def _resident_bytes(process):
    with suppress(psutil.Error):  # it may have just ended
        return process.memory_info().rss
    return 0


def _cause(error, timeout):
    """One line. Only the exception tells: the saved metadata of a killed kernel says `completed`."""
    if isinstance(error, DeadKernelError):
        return "the kernel died without a Python error: it was killed, or the memory was full"
    if isinstance(error, CellTimeoutError):
        return f"a cell ran longer than {timeout} s"
    if isinstance(error, papermill.PapermillExecutionError):
        return " ".join(f"{error.ename}: {error.evalue}".split())
    return " ".join(f"{type(error).__name__}: {error}".split())


def run_all(scale, encoder, artifacts, *, overrides=None, start=""):
    """Run the notebooks from `start` on into `artifacts/scale`, telling what each of them took."""
    notebooks = find_notebooks(start)
    if overrides and overrides.get("VIDEO_DIR"):
        left_out = [path for path in notebooks if path.stem in NEED_TRUE_STATES]
        notebooks = [path for path in notebooks if path not in left_out]
        print("left out, your own videos have no true states:", *(path.stem for path in left_out))
    plan = plan_parameters(notebooks, {"SCALE": scale, "ENCODER": encoder}, overrides or {})
    os.environ |= QUIET | {"HJEPA_ARTIFACTS": str(artifacts)}  # the kernels inherit it
    if encoder == "embedded" or (encoder, scale) == ("auto", "quick"):
        os.environ["HF_HUB_OFFLINE"] = "1"  # else a hub look-up without network retries for half a minute
    costs = {}
    for number, path in enumerate(notebooks, 1):
        print(f"[{number}/{len(notebooks)}] {path.stem}", flush=True)
        executed = artifacts / scale / "executed" / path.name
        costs[path.stem] = run_notebook(path, executed, plan[path], timeout=CELL_TIMEOUT[scale])
        print(f"     {costs[path.stem]}", flush=True)
    costs["all"] = Cost(sum(c.seconds for c in costs.values()), max(c.peak_bytes for c in costs.values()))
    write_json(
        artifacts / scale / "costs.json",
        {
            name: {"seconds": round(c.seconds), "peak_GB": round(c.peak_bytes / 1e9, 1)}
            for name, c in costs.items()
        },
    )
    print("", *(f"{name:32}{cost}" for name, cost in costs.items()), sep="\n")
    print(f"\nexecuted notebooks, figures and results: {artifacts / scale}\n")


def run_and_publish(scale, encoder, artifacts):
    """A whole run; its figures and results go to `figures/`, the quick outputs into the notebooks.

    Those must be what a fresh clone prints, so the quick run starts from nothing. It does not
    replace figures of the paper's scale.
    """
    started, fresh, results = time.time(), artifacts / "published", ROOT / "figures" / "results.json"
    if scale == "paper":
        run_all("paper", encoder, artifacts)
    shutil.rmtree(fresh, ignore_errors=True)
    run_all("quick", "auto", fresh)
    notebooks = find_notebooks()
    refresh_notebooks(notebooks, fresh / "quick" / "executed")
    folder = artifacts / "paper" if scale == "paper" else fresh / "quick"
    if scale == "paper" or not results.exists() or json.loads(results.read_text())["run"]["scale"] == "quick":
        publish_figures(folder, ROOT / "figures", {path.stem for path in notebooks}, since=started)
    publish_costs(fresh / "quick", results)
    if scale == "paper":
        publish_costs(folder, results)
    if (ROOT / "README.md").exists():
        refresh_readme(ROOT)


def main(argv=None):
    """The command line; returns the exit status: 2 for bad arguments, 1 for a failed notebook."""
    run = argparse.ArgumentParser(prog="hjepa_utils run", description="Run the notebooks in order.")
    run.add_argument("--scale", choices=SCALES, default="quick")
    run.add_argument("--encoder", default="auto", help="auto, embedded, a hub id, or a folder")
    run.add_argument("--from", default="", dest="start", metavar="03", help="begin with this notebook")
    run.add_argument("--publish", action="store_true", help="refresh figures/ and the committed notebooks")
    run.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    args = run.parse_args(argv)
    try:
        encoder, artifacts = check_encoder(args.encoder), artifacts_root()
        if not args.publish:
            run_all(args.scale, encoder, artifacts, overrides=dict(args.p), start=args.start)
        elif args.p or args.start or (args.scale == "quick" and encoder not in ("auto", "embedded")):
            raise ValueError("--publish takes no -p and no --from, and --encoder only at paper scale")
        else:
            run_and_publish(args.scale, encoder, artifacts)
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on where it stopped", file=sys.stderr)
        return 130
    except (NotebookFailed, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    return 0
