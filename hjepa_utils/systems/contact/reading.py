"""What reads clips off the paths of bodies, and guesses their states, learned together at a search's end."""

from pathlib import Path

import torch

from ...runs.checkpoints import resumable
from ...runs.fingerprint import hash_code
from .paths import states_at
from .readout import STEP, BodyReadout, StateGuess, fit_guess, fit_readout, frames_seen
from .windows import STRIDE, frames_of

_KEPT = 0.12  # of the variance: windows that are explained worse teach no readout


def explained(found):
    """Paths of clips, their latents and states at their middles, of the windows that are explained well."""
    dynamics, (states, errors, _), latents, *_ = found
    kept = errors <= max(_KEPT, errors.quantile(0.5).item())
    states, z = states[kept], latents[kept].flatten(0, 1)
    length, n_frames = latents.shape[1], len(frames_seen())
    clips = states_at(dynamics, states, frames_of(length)).unfold(1, n_frames, round(STRIDE) // STEP)
    middles = states_at(dynamics, states, [STRIDE * (k - length // 2) for k in range(length)])
    return clips.transpose(-1, -2).flatten(0, 1).to(z), z, middles.flatten(0, 1).to(z)


def learn_to_read(clips, z, middles, dynamics, *, seed, n_epochs, folder, made_from):
    """The readout of clips, the guess of states, and the readout's error."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        readout = BodyReadout(dynamics.n_bodies, dynamics.n_dims, z.shape[-1])
        guess = StateGuess(z.shape[-1], middles.shape[-1])
        file = Path(folder) / "readout.safetensors" if folder else None
        made_from = {**made_from, "part": "readout", "reading": hash_code(learn_to_read)}
        history, modules = [], {"readout": readout, "guess": guess}
        for _ in resumable(file, 1, fingerprint=made_from, history=history, modules=modules, label="readout"):
            error = fit_readout(readout, clips, z, seed=seed, n_epochs=n_epochs)
            fit_guess(guess, z, middles, seed=seed)
            history.append({"error": error})
    return readout, guess, history[0]["error"]
