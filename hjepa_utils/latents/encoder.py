"""Frozen V-JEPA 2 encoders."""

import copy
import hashlib
import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers
from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    StrictDataclassError,
)
from safetensors import SafetensorError
from transformers import VJEPA2Config, VJEPA2Model

from ..runs.hardware import pick_device, pick_encoder_dtype, seeded
from ..runs.weights import check_floats
from .names import HUB_ID, PAPER_ENCODER
from .pictures import normalise

EMBEDDED = Path(__file__).parents[1] / "assets" / "embedded_vjepa2"
_MISFITS = (  # what a config.json that does not fit makes transformers raise
    RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, StrictDataclassError,
)  # fmt: skip
_HEAD_KEYS = ("pooler.", "classifier.")  # the paper's checkpoint is a classifier; its head is not used
_QUANTISED = "holds quantised weights, which are not read: take the model in float32 or bfloat16"
_USE = f'use "embedded", a hub id such as "{PAPER_ENCODER}", or a folder in Hugging Face format'


@dataclass(frozen=True)
class Encoder:
    """A frozen V-JEPA 2 on one device. Its embeddings are float32 (n_clips, latent_dim)."""

    name: str
    model: VJEPA2Model
    # A copy: the positions were laid out when the model was built, and the model's own can be edited later.
    _config: VJEPA2Config = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        object.__setattr__(self, "_config", copy.deepcopy(self.model.config))

    @property
    def config(self):
        """The configuration that the model was built with."""
        return self._config

    @property
    def latent_dim(self):
        return self.config.hidden_size

    @property
    def image_size(self):
        return self.config.crop_size

    @property
    def device(self):
        return self.model.device

    def weights_hash(self):
        """SHA-256 over all weights: latents of other weights under the same name can be told apart."""
        digest = hashlib.sha256()
        for name, tensor in self.model.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.cpu().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    def compile(self):
        """Let `torch.compile` fuse what it can, in place: slow at the first batch, other last bits.

        Meant for a GPU and batches of one size, as `encode_videos` makes them.
        """
        self.model.encoder.compile(dynamic=False)

    @property
    def is_compiled(self):
        return self.model.encoder._compiled_call_impl is not None  # torch tells it nowhere else

    @torch.no_grad()
    def embed(self, clips):
        """uint8 (B, T, 3, image_size, image_size) → float32 CPU (B, latent_dim), mean over tokens.

        T is a multiple of the tubelet's frames, at most the model's `frames_per_clip`: it has learned
        no later times. The result can go into training. Raises `ValueError` for any other clips.
        """
        if not isinstance(clips, torch.Tensor):
            raise ValueError(f"{self._wanted()}, got {type(clips).__name__}")
        fits = clips.dtype == torch.uint8 and clips.ndim == 5
        fits = fits and clips.shape[2:] == (3, self.image_size, self.image_size)
        if not fits or not self.takes_length(clips.shape[1]):
            raise ValueError(f"{self._wanted()}, got {clips.dtype} {tuple(clips.shape)}")
        if len(clips) == 0:
            return torch.empty(0, self.latent_dim)
        pixels = normalise(clips.to(self.device)).to(self.model.dtype)
        tokens = self.model(pixels, skip_predictor=True).last_hidden_state
        return tokens.float().mean(dim=1).cpu()

    def takes_length(self, n_frames):
        """Tell whether clips of so many frames are like those that the model was made for."""
        config = self.config
        return 0 < n_frames <= config.frames_per_clip and n_frames % config.tubelet_size == 0

    def _wanted(self):
        size, config = self.image_size, self.config
        return (
            f"clips must be uint8 (B, T, 3, {size}, {size}), "
            f"T a multiple of {config.tubelet_size} up to {config.frames_per_clip}"
        )

    def why_not_finite(self):
        """One sentence for embeddings with NaN or infinity."""
        said = "the encoder gave NaN or infinity"
        if self.model.dtype != torch.float32:
            return f"{said}; load it with dtype=torch.float32 (extract: --dtype float32)"
        if all(tensor.isfinite().all() for tensor in self.model.state_dict().values()):
            return f"{said}, too large a number even for float32: take another encoder"
        return f"{said}, which stand in its weights: download or save it again"


def load_encoder(name="embedded", *, device=None, dtype=None):
    """A frozen V-JEPA 2 (Assran et al., 2025), on `device` in `dtype`.

    `name`: `"embedded"` (ships with this module, needs no network), a hub id, `hub-id@revision`, or
    a folder in Hugging Face format. `device` defaults to the GPU if there is one; `dtype` to what
    the hardware multiplies fastest, except that the embedded encoder stays in float32 so that its
    latents are the same everywhere. Weights are read from safetensors only and no remote code runs.

    Raises `ValueError` for an unknown name, a checkpoint of another kind or quantised, `FileNotFoundError`
    for a folder without a checkpoint, `ConnectionError` if the hub cannot be reached.
    """
    name, device = str(name), pick_device(device)
    if dtype is None:
        dtype = torch.float32 if name == "embedded" else pick_encoder_dtype(device)
    folder = EMBEDDED if name == "embedded" else Path(name).expanduser()
    if name == "embedded" or (name and folder.is_dir()):
        _check_folder(folder)
        model = _from_pretrained(folder, dtype, local_files_only=True)
    elif HUB_ID.fullmatch(name):
        model = _from_hub(name, dtype)
    else:
        raise ValueError(f"unknown encoder {name!r}: {_USE}")
    return Encoder(name, model.to(device).eval().requires_grad_(False))


def random_encoder(encoder, *, seed):
    """The same architecture on the same device with random weights: the control for any probe."""
    weights = next(encoder.model.parameters())
    with seeded(seed):
        model = VJEPA2Model(copy.deepcopy(encoder.config)).to(weights.device, weights.dtype)
    return Encoder("random weights", model.eval().requires_grad_(False))


def _check_folder(folder):
    """Raise unless it holds weights and a config.json of V-JEPA 2."""
    for file in ("config.json", "model.safetensors"):
        if not any(folder.glob(file.replace(".", "*."))):
            raise FileNotFoundError(f"{folder} holds no {file}; save the model there with save_pretrained")
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (ValueError, AttributeError, RecursionError) as error:  # no JSON, no object, or without end
        raise ValueError(f"{folder}/config.json is damaged: download or save the model again") from error
    if kind != VJEPA2Config.model_type:
        raise ValueError(f"{folder} is not a V-JEPA 2 checkpoint: its config.json says {kind!r}")


def _from_hub(name, dtype):
    """From the local cache if it is there, else from the hub, asking once whether it answers."""
    repo, _, revision = name.partition("@")
    revision = revision or None
    try:
        return _from_pretrained(repo, dtype, revision=revision, local_files_only=True)
    except (OSError, HFValidationError):
        pass  # not in the cache
    try:
        HfApi().model_info(repo, revision=revision, timeout=10)
    except HFValidationError as error:
        raise ValueError(f"unknown encoder {name!r}: {_USE}") from error
    except (RepositoryNotFoundError, RevisionNotFoundError, GatedRepoError) as error:
        raise ValueError(f"the hub has no public model {name!r}: {_USE}") from error
    except Exception as error:
        raise ConnectionError(
            f"{name} is not in the local cache and the hub cannot be reached ({type(error).__name__}): "
            'connect to the network, or use the encoder that needs none, "embedded"'
        ) from error
    return _from_pretrained(repo, dtype, revision=revision)


def _from_pretrained(source, dtype, **options):
    """`VJEPA2Model.from_pretrained` with its report judged here instead of printed."""
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        # With `output_loading_info` it returns two, which its annotation leaves out.
        model, report = VJEPA2Model.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
            source, dtype=dtype, use_safetensors=True, output_loading_info=True, **options
        )
    except SafetensorError as error:
        raise ValueError(f"{source} holds damaged weights ({error}): download or save it again") from error
    except HFValidationError:
        raise
    except ImportError as error:  # what reads quantised weights
        raise ValueError(f"{source} {_QUANTISED}") from error
    except _MISFITS as error:
        message = f"{source}: its weights do not fit its config.json: download or save it again"
        raise ValueError(message) from error
    finally:
        transformers.logging.set_verbosity(verbosity)
    if report["missing_keys"] or report.get("mismatched_keys"):
        raise ValueError(
            f"{source} is not a V-JEPA 2 checkpoint: {len(report['missing_keys'])} weights are missing"
        )
    _check_floats(source, model.config, report["unexpected_keys"], options.get("revision"))
    unknown = [key for key in report["unexpected_keys"] if not key.startswith(_HEAD_KEYS)]
    if unknown:
        warnings.warn(
            f"{source}: weights that V-JEPA 2 does not have were ignored: {unknown[:3]}", stacklevel=3
        )
    return model


def _check_floats(source, config, unused, revision):
    """`ValueError` for quantised weights, which transformers would take for the weights themselves."""
    if getattr(config, "quantization_config", None):
        raise ValueError(f"{source} {_QUANTISED}")
    config_file = (
        source / "config.json"
        if isinstance(source, Path)
        else try_to_load_from_cache(source, "config.json", revision=revision)
    )
    if not config_file:  # in no cache
        return
    whole = Path(config_file).with_name("model.safetensors")
    parts = whole.parent.glob("model-*-of-*.safetensors")
    for file in [whole] if whole.is_file() else sorted(parts):
        check_floats(file, unused)
