"""Which axis of one body is which of the other, and which way it points: told by where the bodies meet."""

from itertools import product

import torch

from . import windows as w

TURNS = tuple(product((False, True), (1.0, -1.0), (1.0, -1.0)))  # swapped, sign, sign of the second body


def errors_of_turns(fitted, latents, *, share=0.38, n_steps=25):
    """What each of `TURNS` of the second body leaves of the windows that walls explain worst, (8,) floats.

    Their states alone are moved, in a table in which bodies may meet.
    """
    worst = fitted.errors.argsort()[-round(share * len(fitted.errors)) :]
    errors = []
    for turn in TURNS:
        table, turned = _turned(fitted, turn)
        errors.append(_refitted(table, turned, latents, worst, n_steps).mean().item())
    return errors


def turned(fitted, turn, latents):
    """The table in which bodies meet, and `Fitted` in its axes, when the second body's are so."""
    table, other = _turned(fitted, turn)
    with torch.no_grad():
        return table, other._replace(errors=w.errors_of(table, other.readout, other.states, latents))


def _turned(fitted, turn):
    swapped, *signs = turn
    table = w.unit_table(2, 2, pairs=[(0, 1)])
    table.scale.data[1] = torch.tensor(signs).to(table.scale)
    readout = fitted.readout.turned(1, [1, 0] if swapped else [0, 1])  # a copy, to be fitted further
    states = fitted.states[:, [0, 1, 3, 2, 4, 5, 7, 6]] if swapped else fitted.states
    return table, fitted._replace(states=states, readout=readout)


def _refitted(table, fitted, latents, windows, n_steps, lr=0.02):
    """The least errors (n,) of some windows when their states alone are moved."""
    states = fitted.states[windows].clone().requires_grad_()
    least = torch.full((len(states),), torch.inf, dtype=states.dtype)
    optimiser = torch.optim.Adam([states], lr)
    for step in range(n_steps):
        optimiser.param_groups[0]["lr"] = lr * (1 - step / n_steps) + 1e-4
        errors = w.errors_of(table, fitted.readout, states, latents[windows])
        least = torch.minimum(least, errors.detach())
        (states.grad,) = torch.autograd.grad(errors.sum(), states)
        optimiser.step()
        with torch.no_grad():
            states[:, : states.shape[1] // 2].clamp_(-0.999, 0.999)
    return least
