"""The record of one run of measurements: saved after every part, whatever fails in between."""

import io
import math
import sys
import time
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import torch

from ...experiment.timing import seconds, side_by_side
from ...runs.files import write_json


class Record:
    """The results so far in `content`, their file, and what is left of `limit` seconds."""

    def __init__(self, file, settings, device, *, limit):
        self.file, self.settings, self.device, self.limit = file, settings, device, limit
        self.content: dict[str, Any] = {"errors": []}
        self.begin = time.perf_counter()

    @property
    def elapsed(self):
        return time.perf_counter() - self.begin

    @property
    def left(self):
        return self.limit - self.elapsed

    def say(self, text):
        print(f"{self.elapsed:6.1f} s  {text}", file=sys.stderr, flush=True)

    def save(self):
        write_json(self.file, as_json(self.content))

    def note(self, name, text):
        """One line under "errors"."""
        self.content["errors"].append(f"{name}: {text}")
        self.say(self.content["errors"][-1])

    def section(self, name, measure):
        """Run `measure(record, into)`, which fills the dict `into`, and save what there is."""
        begin, into = self.elapsed, self.content.setdefault(name, {})
        self.say(name)
        self.attempt(name, measure, self, into)
        into["seconds"] = round(self.elapsed - begin, 1)
        self.save()

    def attempt(self, name, function, *args, needs=0):
        """`function(*args)`; None and a line under "errors" if it fails or under `needs` seconds are left.

        What it prints goes there, too: that the compiler failed is only printed.
        """
        if self.left < needs:
            return self.note(name, f"left out, {self.left:.0f} s were left")
        printed = io.StringIO()
        try:
            with redirect_stdout(printed):
                return function(*args)
        except Exception as error:
            lines = str(error).strip().splitlines()
            return self.note(name, f"{type(error).__name__}: {lines[0] if lines else ''}")
        finally:
            for line in printed.getvalue().splitlines():
                self.note(name, line)

    def timed(self, name, calls, *, at_most=8):
        """`seconds` of the calls that work, {name: (rounds)}: as many rounds as settings say.

        Fewer, but no less than 6, if they would take more than `at_most` seconds.
        """
        working = {}
        for key, call in calls.items():
            self.attempt(f"{name}, {key}", lambda key=key, call=call: (call(), working.update({key: call})))
        if not working:
            return {}
        once = sum(s.sum() for s in seconds(working, rounds=1, warm_up=1).values())
        rounds = min(self.settings["rounds"], max(6, int(at_most / once)))
        return seconds(working, rounds=rounds, warm_up=1)


def as_json(value):
    """Tuples, arrays and tensors as lists, NaN and infinity in words."""
    if isinstance(value, dict):
        return {str(key): as_json(part) for key, part in value.items()}
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        return as_json(value.tolist())
    if isinstance(value, list | tuple):
        return [as_json(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def difference(value, expected):
    """The largest difference of two tensors, relative to the largest |expected|; on any devices."""
    value, expected = (x.detach().to("cpu", torch.float64) for x in (value, expected))
    return float((value - expected).abs().max() / expected.abs().max().clamp(min=1e-30))


def compared(taken, reference, divided_by=1):
    """`side_by_side` of milliseconds, and the rounds: {name: seconds (rounds)} → {"times", "rounds"}."""
    if not taken:
        return {}
    reference = reference if reference in taken else next(iter(taken))
    times = {name: 1e3 * s / divided_by for name, s in taken.items()}
    return {"times": side_by_side(times, reference).to_dict(), "rounds": len(taken[reference])}
