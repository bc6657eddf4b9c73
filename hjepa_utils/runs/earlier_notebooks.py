"""A notebook that is opened alone: what it reads and has not been made yet is made first."""

import json
import math
import os
import subprocess
import sys
from itertools import takewhile

from .files import ArtifactError
from .places import ROOT, artifacts_root, scale_folder


def run_missing(numbers, scale, seed):
    """Run the notebooks of a chain, given by their numbers in order, behind the last that has run.

    Says first how long it takes. Only at quick scale: at the paper's it is hours, to be begun on purpose.
    Raises `ArtifactError` with its reason if one of them fails.
    """
    folder = scale_folder(scale, seed)
    chain = [path.stem for n in numbers for path in (ROOT / "notebooks").glob(f"{n:02d}_*.ipynb")]
    missing = [*takewhile(lambda name: not (folder / name / "manifest.json").exists(), reversed(chain))][::-1]
    if not missing or scale != "quick":
        return
    print(f"running first what this notebook reads, {_minutes(missing)}: {', '.join(missing)}", flush=True)
    command = [sys.executable, "-m", "hjepa_utils", "run", "--only", *missing, "-p", "SEED", str(seed)]
    environment = os.environ | {"HJEPA_ARTIFACTS": str(artifacts_root())}
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    last = ""
    with subprocess.Popen(command, cwd=ROOT, env=environment, **pipe) as runner:
        try:
            for line in runner.stdout or ():
                last = line.strip() or last
                if line.startswith("["):
                    print(line, end="", flush=True)
        except BaseException:
            _end(runner)
            raise
    if runner.returncode:
        raise ArtifactError(f"what this notebook reads could not be made: {last.removeprefix('error: ')}")


def _end(runner):
    """After Ctrl-C, which Jupyter sends to the whole group, so that the runner ends its kernels by itself."""
    try:
        runner.wait(timeout=10)
    except subprocess.TimeoutExpired:
        runner.terminate()


def _minutes(notebooks):
    """How long they took in the published run, in words."""
    try:
        published = json.loads((ROOT / "figures" / "results.json").read_text())
        costs = published["wall_clock"]["quick_costs"]
        minutes = math.ceil(sum(costs[name]["seconds"] for name in notebooks) / 60)
    except (OSError, ValueError, KeyError):
        return "some minutes"
    return f"about {minutes} {'minute' if minutes == 1 else 'minutes'}"
