"""`python -m hjepa_utils run`, `extract`, `benchmark`, `pages`, `address`; all have `--help`."""

import os
import signal
import sys
from importlib import import_module

USAGE = """usage: python -m hjepa_utils COMMAND …

  run        run the numbered notebooks in order
  extract    latents of a folder of videos, shared out over processes and GPUs
  benchmark  what steps, updates and encoders cost on this device
  pages      write this repository's pages and figures anew from figures/results.json
  address    set where this project can be fetched, for badges and Colab

Each has --help. Exit status: 0 done, 1 failed, 2 bad arguments, 130 interrupted."""
INTERRUPTED = "\ninterrupted: the same command goes on where it stopped"
COMMANDS = {
    "run": "project.runner",
    "extract": "latents.extract",
    "benchmark": "systems.hjepa.measure",
    "pages": "project.readme",
    "address": "project.address",
}


def main(argv=None):
    """Hand the arguments to a command; returns its exit status, 2 for an unknown one.

    Ctrl-C ends any of them with one line and 130.
    """
    command, *rest = (sys.argv[1:] if argv is None else argv) or [""]
    if command not in COMMANDS:
        print(USAGE, file=sys.stdout if command in ("-h", "--help") else sys.stderr)
        return 0 if command in ("-h", "--help") else 2
    try:
        return imported(COMMANDS[command]).main(rest)
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130


def imported(name):
    """A command's module. Some packages swallow exceptions while they are imported: there Ctrl-C ends all."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _end)
    module = import_module(f".{name}", "hjepa_utils")
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return module


def _end(*_):
    os.write(2, f"{INTERRUPTED}\n".encode())
    os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
