"""Run the numbered notebooks in order: `python -m hjepa_utils run --help`."""

import argparse
import json
import logging
import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import papermill
import psutil
from nbclient.exceptions import CellTimeoutError, DeadKernelError

from ..runs.files import explain_write_error, write_json
from ..runs.places import ROOT, artifacts_root, scale_folder
from ..runs.run import SCALES
from .arguments import plan_run, ships
from .own_videos import WHICH_ENCODER, outcome
from .publish import publish_costs, publish_figures, publish_models, publish_some, refresh_notebooks
from .readme import refresh_pages

CELL_TIMEOUT = {"quick": 1800, "paper": None}  # seconds a cell may take; a paper cell may take hours
# Nobody sees a kernel's progress bars, and saved ones differ in every run; nor advice on debuggers.
BARS = {"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}  # transformers shows some of its own
QUIET = BARS | {"HJEPA_HEADLESS": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}


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


def run_notebook(path, executed, parameters=None, *, timeout=None):
    """Run one notebook from the project's root, leave the executed copy at `executed`; its `Cost`.

    The copy is there after a failure too, which is raised as `NotebookFailed`. papermill works in a
    second thread: in the first one nbclient would take Ctrl-C for a dead kernel.
    """
    with explain_write_error(executed.parent):
        executed.parent.mkdir(parents=True, exist_ok=True)
    unfinished = executed.with_name(f".unfinished-{executed.name}")
    options = {"kernel_name": "python3", "language": "python", "cwd": ROOT, "execution_timeout": timeout}
    options["extra_arguments"] = ["--log-level=CRITICAL"]  # it warns of its own transport and shutdown
    options["progress_bar"] = sys.stderr.isatty()
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


def run_all(plan, scale, artifacts, *, offline):
    """Run the notebooks of a plan (path → parameters) below `artifacts`, telling what each took.

    `offline`: without asking the hub for anything.
    """
    os.environ |= QUIET | {"HJEPA_ARTIFACTS": str(artifacts)}  # the kernels inherit it
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # else a hub look-up without network retries for half a minute
    folder, costs = _scale_folder(plan, scale), {}
    for number, (path, parameters) in enumerate(plan.items(), 1):
        print(f"[{number}/{len(plan)}] {path.stem}", flush=True)
        executed = folder / "executed" / path.name
        costs[path.stem] = run_notebook(path, executed, parameters, timeout=CELL_TIMEOUT[scale])
        print(f"     {costs[path.stem]}", flush=True)
    costs["all"] = Cost(sum(c.seconds for c in costs.values()), max(c.peak_bytes for c in costs.values()))
    write_json(
        folder / "costs.json",
        {
            name: {"seconds": round(c.seconds), "peak_GB": round(c.peak_bytes / 1e9, 1)}
            for name, c in costs.items()
        },
    )
    print("", *(f"{name:32}{cost}" for name, cost in costs.items()), sep="\n")
    print(f"\nexecuted notebooks, figures and results: {folder}\n")


def _scale_folder(plan, scale):
    """Where the notebooks of a plan put their artifacts."""
    return scale_folder(scale, max((parameters.get("SEED", 0) for parameters in plan.values()), default=0))


def run_and_publish(plan, scale, artifacts, *, offline):
    """A whole run; its figures and results go to `figures/`, the quick outputs into the notebooks.

    Those must be what a fresh clone prints, so the quick run starts from nothing. It does not
    replace figures of the paper's scale.
    """
    started, fresh, results = time.time(), artifacts / "published", ROOT / "figures" / "results.json"
    if scale == "paper":
        run_all(plan, "paper", artifacts, offline=offline)
        publish_figures(artifacts / "paper", ROOT / "figures", {path.stem for path in plan}, since=started)
        publish_models(artifacts / "paper", ROOT / "hjepa_utils" / "assets")
    shutil.rmtree(fresh, ignore_errors=True)
    run_all(plan_run("quick", "auto"), "quick", fresh, offline=True)  # shows what is published by now
    refresh_notebooks(list(plan), fresh / "quick" / "executed")
    if not results.exists() or json.loads(results.read_text())["run"]["scale"] == "quick":
        publish_figures(fresh / "quick", ROOT / "figures", {path.stem for path in plan}, since=started)
    _publish_costs_and_pages(artifacts, fresh, scale)


def run_and_publish_some(plan, scale, artifacts, *, offline):
    """The same for some notebooks, beside what is published of the others; what those made is read.

    The quick run reads what a whole publication left in `artifacts`, and makes these notebooks anew.
    Raises `ValueError` if nothing is published yet.
    """
    started, fresh, names = time.time(), artifacts / "published", {path.stem for path in plan}
    if not (results := ROOT / "figures" / "results.json").exists():
        raise ValueError(f"{results} is missing: publish all notebooks first, without --only")
    if scale == "paper":
        run_all(plan, "paper", artifacts, offline=offline)
        publish_some(artifacts / "paper", ROOT / "figures", names, since=started)
        publish_models(artifacts / "paper", ROOT / "hjepa_utils" / "assets")
    for name in names:
        shutil.rmtree(fresh / "quick" / name, ignore_errors=True)
    run_all(plan_run("quick", "auto", only=sorted(names)), "quick", fresh, offline=True)
    refresh_notebooks(list(plan), fresh / "quick" / "executed")
    _publish_costs_and_pages(artifacts, fresh, scale)


def _publish_costs_and_pages(artifacts, fresh, scale):
    results = ROOT / "figures" / "results.json"
    publish_costs(fresh / "quick", results)
    if scale == "paper":
        publish_costs(artifacts / "paper", results)
    if (ROOT / "README.md").exists():
        refresh_pages(ROOT)


def _parser():
    run = argparse.ArgumentParser(
        prog="hjepa_utils run",
        allow_abbrev=False,  # --p would be --publish
        description="Run the numbered notebooks in order.",
        epilog="exit status: 0 done, 1 a notebook failed, 2 bad arguments, 130 interrupted",
    )
    run.add_argument("--scale", choices=SCALES, default="quick", help="quick: minutes; paper: hours")
    run.add_argument("--encoder", default="auto", help="auto, embedded, a hub id, or a folder")
    some = run.add_mutually_exclusive_group()
    some.add_argument("--from", dest="start", metavar="03", help="begin with this notebook")
    some.add_argument(
        "--only", nargs="+", action="extend", default=[], metavar="03", help="run only these notebooks"
    )
    run.add_argument("--videos", metavar="DIR", help="a folder of your own videos: the same as -p VIDEO_DIR")
    run.add_argument("--publish", action="store_true", help="refresh figures/ and the committed notebooks")
    run.add_argument(
        "-p",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="a parameter of the notebooks that declare it; may be given for several",
    )
    return run


def _planned(args):
    """What the typed arguments ask for: path → parameters. Raises what `plan_run` does."""
    overrides = args.p + ([] if args.videos is None else [("VIDEO_DIR", args.videos)])
    if args.videos == "":
        raise ValueError("--videos needs a folder of videos, got ''")
    if args.publish and (overrides or args.start is not None):
        raise ValueError("--publish takes no -p, --videos and --from")
    if args.publish and args.scale == "quick" and args.encoder not in ("auto", "embedded"):
        raise ValueError("--publish takes another --encoder only at paper scale")
    return plan_run(args.scale, args.encoder, overrides=overrides, start=args.start, only=args.only)


def main(argv=None):
    """The command line; returns the exit status that its help documents."""
    args = _parser().parse_args(argv)
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # whatever it reports is said here, once
    offline = ships(args.encoder, args.scale)
    try:
        plan = _planned(args)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    own_videos = any(parameters.get("VIDEO_DIR") for parameters in plan.values())
    if own_videos and offline:
        print(WHICH_ENCODER)
    try:
        publish = run_and_publish_some if args.only else run_and_publish
        run = publish if args.publish else run_all
        run(plan, args.scale, artifacts_root(), offline=offline)
        if own_videos and any(path.stem == "03_train_hnn" for path in plan):
            print(outcome(_scale_folder(plan, args.scale)))
    except (NotebookFailed, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
