"""`ContactLatents`: latents predicted by the bodies behind them, found without labels or with."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import nn

from ...dynamics.hamiltonian import check_state
from ...dynamics.integrators import check_n_steps
from ...dynamics.saved import read_config
from ...latents.windows import Clips, Standardiser, first_not_finite
from ...runs.checkpoints import resumable
from ...runs.checks import whole_number
from ...runs.files import write_json
from ...runs.fingerprint import hash_code, hash_tensors
from .chain import LONG, search
from .doubts import doubts_of
from .inversion import find_states, weights
from .model import ContactDynamics
from .paths import states_at
from .reading import explained, learn_to_read
from .readout import STEP, BodyReadout, StateGuess, frames_seen
from .schedule import Schedule

_LEAST_VIDEOS = 5  # every fifth is held out


class ContactLatents(nn.Module):
    """z_0 → the likeliest states, moved by contact dynamics, read out: (…, D) → (…, n_steps + 1, D).

    `dynamics` is a `ContactDynamics` per frame, `readouts` those of clips (their mean is taken), `guess` maps
    z to a state to start from; all three are of z in units of `standardiser`, by default as given. The
    prediction is the mean over states, weighted by how well each explains z_0. Searches draw random starts
    from `seed`, so that a rollout is the same every time.
    """

    dynamics: ContactDynamics
    guess: StateGuess
    mean: torch.Tensor
    unit: torch.Tensor

    def __init__(self, dynamics, readouts, guess, standardiser=None, *, seed=0, n_starts=24, n_kept=6):
        super().__init__()
        self.dynamics, self.guess = dynamics, guess
        self.readouts = cast(Sequence[BodyReadout], nn.ModuleList(readouts))
        identity = standardiser or Standardiser.identity(self.readouts[0].latent_dim)
        self.register_buffer("mean", identity.mean)
        self.register_buffer("unit", identity.scale)
        self.seed, self.n_starts, self.n_kept = seed, n_starts, n_kept
        self.notes, self.found = {}, None
        self.requires_grad_(False).eval()

    @classmethod
    def fit(cls, latents, *, seed, schedule=Schedule(), checkpoint=None, n_tries=3):  # noqa: B008, frozen
        """Find two bodies behind the latents of videos, without any label, and learn to predict by them.

        `latents` (n_videos, n_clips, D), or a dict of (n_clips, D) as `load_latents` gives: clips of 16
        frames, one every four, of at least five videos of one length. As long as the search is unsure it
        begins again by itself, up to `n_tries` times in all. What was found is in `notes`: contrasts, errors
        of all pairings, the share of windows that stayed unexplained, and every try; what is unsure at the
        end is warned of. With a folder `checkpoint`, an interrupted search goes on where it stopped. The
        same seed gives the same model. `found` holds the `Findings`, with the states of all windows; it is
        not saved. Raises `ValueError` for other shapes and for NaN.
        """
        latents = _checked(latents)
        whole_number(n_tries, "n_tries")
        standardiser = Standardiser.fitted_to(latents.flatten(0, 1))
        options = {"seed": seed, "schedule": schedule, "folder": checkpoint, "n_tries": n_tries}
        found = search(standardiser(latents), **options)
        clips, z, middles = explained(found)
        readout, guess, error = learn_to_read(
            clips, z, middles, found.dynamics, seed=seed, n_epochs=schedule.n_epochs, folder=checkpoint,
            made_from=found.made_from,
        )  # fmt: skip
        model = cls(found.dynamics, [readout], guess, standardiser, seed=seed)
        model.notes, model.found = found.notes | {"error of clips": error}, found
        for doubt in model.doubts:
            warnings.warn(doubt, stacklevel=2)
        return model

    @classmethod
    def fit_with_states(cls, latents, states, *, seed, n_epochs=150, checkpoint=None):
        """The same from videos whose states are known: how much is lost by finding them.

        `latents` as for `fit`, `states` (n_videos, n_frames, D_state) at all their frames, positions about
        -1 … 1, then velocities. `notes` holds the error on the clips. Raises `ValueError` for other shapes
        and units, and as `ContactDynamics.fit` does.
        """
        latents = _checked(latents)
        states = _checked_states(states, latents)
        dynamics = ContactDynamics.fit(states).requires_grad_(False)
        standardiser = Standardiser.fitted_to(latents.flatten(0, 1))
        z, own = standardiser(latents).flatten(0, 1), Clips()
        clips = states.unfold(1, own.frames, own.stride)[..., 1::STEP].transpose(-1, -2).flatten(0, 1)
        middles = own.middles(states[..., None])[..., 0].flatten(0, 1)
        made_from = {"videos": hash_tensors({"z": z, "states": states}), "seed": seed, "n_epochs": n_epochs}
        readout, guess, error = learn_to_read(
            clips.to(z), z, middles.to(z), dynamics, seed=seed, n_epochs=n_epochs, folder=checkpoint,
            made_from=made_from,
        )  # fmt: skip
        model = cls(dynamics, [readout], guess, standardiser, seed=seed)
        model.notes = {"error of clips": error}
        return model

    @property
    def doubts(self):
        """What the search without labels is unsure of: sentences, none where it is sure."""
        return doubts_of(self.notes)

    def states(self, z0):
        """States (n_kept, n, D_state) behind z0 (n, D), best first, and their residuals (n_kept, n)."""
        return self.states_behind(z0[:, None])

    def states_behind(self, clips, checkpoint=None):
        """The same for neighbouring clips (n, K, D): the states at the middle of the last.

        It takes a third of a second for each of n; with a file `checkpoint`, the same call finds them there.
        """
        options = {"n_starts": self.n_starts, "n_kept": self.n_kept}
        parts = self.dynamics, list(self.readouts), (clips - self.mean) / self.unit, self.guess

        def found():
            generator = torch.Generator().manual_seed(self.seed)
            return find_states(*parts, generator=generator, **options)

        if checkpoint is None:
            return found()
        residuals = torch.zeros(self.n_kept, len(clips), dtype=clips.dtype)
        states = residuals[..., None].repeat(1, 1, 2 * self.dynamics.n_bodies * self.dynamics.n_dims)
        made_from = {**options, "seed": self.seed, "code": hash_code(find_states)}
        made_from |= {"model": hash_tensors(self.state_dict()), "clips": hash_tensors({"clips": clips})}
        for _ in resumable(
            checkpoint, 1, fingerprint=made_from, history=[], modules={}, label="states behind latents",
            tensors={"states": states, "residuals": residuals},
        ):  # fmt: skip
            for kept, new in zip((states, residuals), found(), strict=True):
                kept.copy_(new)
        return states, residuals

    def rollout(self, z0, n_steps):
        """(…, D) → (…, n_steps + 1, D), one clip to the next."""
        return self.rollout_from(z0[..., None, :], n_steps)

    def rollout_from(self, clips, n_steps):
        """From the last of K neighbouring clips on: (…, K, D) → (…, n_steps + 1, D).

        More clips than one tell velocities better, and where a ball came from.
        """
        check_n_steps(n_steps)
        n_clips, dim = clips.shape[-2:]
        flat = check_state(clips, self.mean.shape[0]).reshape(-1, n_clips, dim)
        predicted = self.predicted(*self.states_behind(flat), n_steps).to(clips.dtype)
        predicted[:, 0] = flat[:, -1]  # it is given
        return predicted.reshape(*clips.shape[:-2], n_steps + 1, dim)

    def predicted(self, states, residuals, n_steps):
        """What states with such residuals say together: the latents from theirs on, (n, n_steps + 1, D)."""
        return (weights(residuals)[..., None, None] * self.read(states, n_steps)).sum(dim=0)

    @torch.no_grad()
    def read(self, states, n_steps=0):
        """The latents of states at a clip's middle, and of the clips after it: (…, D_state) → (…, T, D)."""
        flat = states.reshape(-1, states.shape[-1])
        path = states_at(self.dynamics, flat, list(frames_seen(n_clips=n_steps + 1)))
        read = torch.stack([readout.of_windows(path) for readout in self.readouts]).mean(dim=0)
        return (read * self.unit + self.mean).reshape(*states.shape[:-1], n_steps + 1, -1)

    def energy(self, z):
        """The energy of the likeliest state behind z, as `ContactDynamics.energy`: (…, D) → (…)."""
        states, _ = self.states(z.reshape(-1, z.shape[-1]))
        return self.dynamics.energy(states[0]).reshape(z.shape[:-1])

    def save_pretrained(self, folder):
        """Write a folder with the parts and what was found. Raises `OSError` where it cannot be written."""
        folder = Path(folder).expanduser()
        parts = {"dynamics": self.dynamics, "guess": self.guess}
        parts |= {f"readout_{k}": readout for k, readout in enumerate(self.readouts)}
        for name, part in parts.items():
            part.save_pretrained(folder / name)
        numbers = {name: getattr(self, name) for name in ("seed", "n_starts", "n_kept")}
        of_z = {"mean": self.mean.tolist(), "scale": self.unit.tolist()}
        words = {**numbers, "n_readouts": len(self.readouts), "standardiser": of_z, "notes": self.notes}
        write_json(folder / "contact_latents.json", words)

    @classmethod
    def from_pretrained(cls, folder):
        """Load what `save_pretrained` wrote, on the CPU.

        Raises `FileNotFoundError` if it is not there, `ValueError` if it is damaged.
        """
        folder = Path(folder).expanduser()
        dynamics = ContactDynamics.from_pretrained(folder / "dynamics")
        guess = StateGuess.from_pretrained(folder / "guess")
        words = read_config(folder / "contact_latents.json")
        try:
            names = [f"readout_{k}" for k in range(words["n_readouts"])]
            standardiser = Standardiser(**{k: torch.tensor(v) for k, v in words["standardiser"].items()})
            numbers = {name: words[name] for name in ("seed", "n_starts", "n_kept")}
            notes = words["notes"]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{folder / 'contact_latents.json'} is damaged ({error}): save the model again"
            ) from error
        readouts = [BodyReadout.from_pretrained(folder / name) for name in names]
        model = cls(dynamics, readouts, guess, standardiser, **numbers)
        model.notes = notes
        return model


def _checked(latents):
    """(n_videos, n_clips, D), float32."""
    if isinstance(latents, Mapping):
        lengths = sorted({len(clips) for clips in latents.values()})
        if len(lengths) != 1:
            raise ValueError(f"all videos must have as many clips, got {lengths}: cut them to one length")
        latents = torch.stack([torch.as_tensor(clips) for clips in latents.values()])
    latents = torch.as_tensor(latents)
    if latents.ndim != 3 or not latents.is_floating_point():
        raise ValueError(
            f"latents must be float (n_videos, n_clips, D), got {latents.dtype} {tuple(latents.shape)}"
        )
    n_videos, n_clips = latents.shape[:2]
    if n_videos < _LEAST_VIDEOS or n_clips < LONG:
        raise ValueError(
            f"at least {_LEAST_VIDEOS} videos of {LONG} clips are needed, got {n_videos} of {n_clips}"
        )
    if (clip := first_not_finite(latents.flatten(0, 1))) is not None:
        raise ValueError(f"video {clip // n_clips} holds NaN or infinity at clip {clip % n_clips}")
    return latents.float()


def _checked_states(states, latents):
    """(n_videos, n_frames, D_state), float64, as many clips as latents."""
    states = torch.as_tensor(states, dtype=torch.float64)
    n_videos, n_clips = latents.shape[:2]
    if states.ndim != 3 or len(states) != n_videos or Clips().count(states.shape[1]) != n_clips:
        raise ValueError(
            f"states must be (n_videos, n_frames, D_state) at all frames of {n_videos} videos of {n_clips} "
            f"clips, got {tuple(states.shape)}"
        )
    largest = states.chunk(2, dim=-1)[0].abs().max().item()
    if not 0.5 < largest < 2:
        raise ValueError(
            f"positions must be about -1 … 1, got up to {largest:.3g}: subtract the table's middle and "
            "divide by half its width"
        )
    return states
