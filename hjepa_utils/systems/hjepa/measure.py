"""All that is measured on one device in one run: `python -m hjepa_utils benchmark --out FILE`."""

import argparse
import os
import platform
import subprocess
import sys
import warnings
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from ...dynamics.predictors import NotSymplecticWarning
from ...runs.hardware import hardware, pick_device
from . import benchmark
from .measure_encoder import encoders
from .measure_record import Record, compared, difference
from .measure_training import MLP, OURS, fifty_epochs, ten_seeds, updates

PAPER = {
    "batches": [1, 32, 256],
    "compiled_batches": [1, 256],  # each takes half a minute
    "dim": 1024,
    "n_steps": 15,
    "rounds": 50,
    "n_epochs": [10, 50],
    "n_windows": [760, 190],
    "n_seeds": 10,
    "encoder_batches": {"ViT-L": [32, 64], "embedded": [1024]},
    "seed": 0,
}
QUICK = PAPER | {
    "batches": [1, 4],
    "compiled_batches": [1],
    "dim": 32,
    "n_steps": 3,
    "rounds": 6,
    "n_epochs": [1, 2],
    "n_windows": [64, 16],
    "n_seeds": 3,
    "encoder_batches": {"embedded": [2]},
}
# The same states by other means: what they should agree with.
COMPARED_WITH = {
    "MLP, graphed": MLP, "MLP, JAX": MLP, "torchdiffeq, Euler": "HNN, Euler",
    "HNN, autograd": OURS, "HNN, compiled": OURS, "HNN, graphed": OURS, "HNN, JAX": OURS,
}  # fmt: skip


def ms_per_step(record, into):
    """A rollout without gradients, divided by its steps, for every batch size."""
    settings = record.settings
    of_leapfrog, of_mlp = benchmark.multiply_adds(settings["dim"]).values()
    into["multiply_adds"] = of_leapfrog / of_mlp
    models = benchmark.contestants(settings["dim"], record.device)
    for batch in settings["batches"]:
        z0 = torch.randn(batch, settings["dim"], generator=torch.Generator().manual_seed(settings["seed"]))
        z0, n_steps = z0.to(record.device), settings["n_steps"]
        calls = {name: partial(model.rollout, z0, n_steps) for name, model in models.items()}
        if batch not in settings["compiled_batches"] or record.left < 45:
            calls.pop("HNN, compiled", None)
        with torch.no_grad():
            into[f"batch {batch}"] = {"difference of the end from the plain form": _agreement(record, calls)}
            record.say(f"batch {batch}: all have begun")
            taken = record.timed(f"ms_per_step, batch {batch}", calls)
        into[f"batch {batch}"] |= compared(taken, MLP, divided_by=n_steps)
        record.save()


def _agreement(record, calls):
    """{name: how far its end states are from those of the plain form}, relative to the largest."""
    ends = {}
    for name, call in calls.items():
        states = record.attempt(f"first call, {name}", call)
        if states is not None:
            ends[name] = states[:, -1].clone()
    return {n: difference(ends[n], ends[p]) for n, p in COMPARED_WITH.items() if n in ends and p in ends}


def header(device):
    """What the numbers belong to: no host name and no date."""
    described = {"device": hardware(device), "python": platform.python_version(), "tf32": False}
    for package in ("torch", "jax", "jaxlib", "optax", "transformers", "torchdiffeq"):
        try:
            described[package] = version(package)
        except PackageNotFoundError:
            described[package] = None
    if device.type == "cuda":
        described |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        described["capability"] = torch.cuda.get_device_capability(device)
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        described["driver"] = subprocess.run(query, capture_output=True, text=True).stdout.strip()
        described["memory"] = torch.cuda.get_device_properties(device).total_memory
    return described


SECTIONS = {  # in the order of what is least known
    "encoder": encoders,
    "ten_seeds": ten_seeds,
    "update": updates,
    "fifty_epochs": fifty_epochs,
    "ms_per_step": ms_per_step,
}


def _home_path(text):
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} names no home folder here") from error


def main(argv=None):
    """Measure and write the JSON file after every part; returns the exit status.

    0 if the file is there, errors of single parts included in it; 1 if it cannot be written; 2 for bad
    arguments; 130 if it was interrupted: then the file holds the parts that were done.
    """
    parser = argparse.ArgumentParser(
        prog="python -m hjepa_utils benchmark", description="All that is measured on one device in one run"
    )
    parser.add_argument("--out", required=True, type=_home_path, metavar="FILE", help="the JSON file")
    parser.add_argument("--quick", action="store_true", help="tiny settings, to try it")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, metavar="PART", help=", ".join(SECTIONS))
    parser.add_argument(
        "--limit", type=float, default=330, metavar="SECONDS", help="then long parts are left out"
    )
    args = parser.parse_args(argv)
    if not args.limit > 0:
        parser.error(f"argument --limit: takes a number of seconds above 0, got {args.limit}")
    if not args.out.name or (os.path.exists(args.out) and not os.path.isfile(args.out)):
        parser.error(f"argument --out: takes a file, got {str(args.out)!r}")
    if not os.path.isdir(args.out.parent):  # unlike Path's, false for a name that is too long
        print(f"cannot write to {args.out}: there is no folder {args.out.parent}; make it", file=sys.stderr)
        return 1
    warnings.simplefilter("ignore", NotSymplecticWarning)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    settings, device = QUICK if args.quick else PAPER, pick_device()
    record = Record(args.out, settings, device, limit=args.limit)
    try:
        record.content |= {"header": header(device), "settings": settings}
        record.save()
        for name in SECTIONS if args.only is None else args.only:
            record.section(name, SECTIONS[name])
        record.content["total seconds"] = round(record.elapsed, 1)
        record.save()
    except KeyboardInterrupt:
        print(f"\ninterrupted: what was measured until then is in {args.out}", file=sys.stderr)
        return 130
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
