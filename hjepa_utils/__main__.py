"""The command line: `python -m hjepa_utils run` and `python -m hjepa_utils extract`, each with `--help`."""

import sys

USAGE = """usage: python -m hjepa_utils COMMAND …

  run      run the numbered notebooks in order
  extract  latents of a folder of videos, shared out over processes and GPUs

Each has --help."""


def main(argv=None):
    """Hand the arguments to a command; returns its exit status, 2 for an unknown one."""
    command, *rest = [*(sys.argv[1:] if argv is None else argv), ""]
    rest = rest[:-1]
    if command == "run":
        from .project.runner import main as run

        return run(rest)
    if command == "extract":
        from .latents.extract import main as extract

        return extract(rest)
    print(USAGE, file=sys.stdout if command in ("-h", "--help") else sys.stderr)
    return 0 if command in ("-h", "--help") else 2


if __name__ == "__main__":
    sys.exit(main())
