"""Features of the published networks, for whoever has their weights: this project does not bring them."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from .checks import check_frame_tensor

_TAKEN_TOGETHER = 16  # videos of 224 × 224 px
_JEDI_FILES = "vith16.pth.tar", "ssv2-probe.pth.tar"
_INSTEAD = "without it use the features of a VideoEncoder"


def i3d_features(file, frames):
    """Features for the Fréchet video distance: uint8 (n, 16, 3, 32, 32) → float32 (n, 400).

    `file` is `i3d_torchscript.pt`, the network trained on Kinetics-400 that StyleGAN-V's evaluation uses;
    `frechet` of 2048 real and as many made videos is then its distance. Raises `ValueError` without the file,
    and for another network in it.
    """
    file = Path(file).expanduser()
    if not file.is_file():
        raise ValueError(
            f"{file} is not there: the published distance needs i3d_torchscript.pt, as StyleGAN-V names it; "
            f"{_INSTEAD}"
        )
    check_frame_tensor(frames)
    try:
        network = torch.jit.load(file, map_location="cpu").eval()
    except RuntimeError as error:
        raise ValueError(f"{file} is damaged or no TorchScript: fetch it again") from error
    try:
        with torch.no_grad():
            parts = [network(part.transpose(1, 2), rescale=True, resize=True, return_features=True)
                     for part in frames.split(_TAKEN_TOGETHER)]  # fmt: skip
    except RuntimeError as error:
        raise ValueError(
            f"{file} does not take these videos: name the published i3d_torchscript.pt"
        ) from error
    return torch.cat(parts).float()


def jedi_features(folder, frames, config=None):
    """Features for JEDi (Luo et al., ICLR 2025): uint8 (n, 16, 3, 32, 32) → float32 (n, 1280).

    `folder` holds `vith16.pth.tar` and `ssv2-probe.pth.tar`, V-JEPA ViT-H/16 and its probe, which the package
    `videojedi` runs; `config` is the file that describes them, which it fetches by itself if none is named.
    `kernel_mmd` of 5000 real and as many made videos is then its distance. Raises `ValueError` without the
    weights, `ImportError` without the package.
    """
    folder = Path(folder).expanduser()
    missing = [name for name in _JEDI_FILES if not (folder / name).is_file()]
    if missing:
        raise ValueError(
            f"{folder / missing[0]} is not there: JEDi needs {' and '.join(_JEDI_FILES)} of "
            f"dl.fbaipublicfiles.com/jepa/vith16; {_INSTEAD}"
        )
    check_frame_tensor(frames)
    try:
        from videojedi.V_JEPA import VJEPA  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(f"JEDi needs its own package ({error}): pip install videojedi") from error
    network = VJEPA(model_dir=str(folder), config_fname=config and str(config))
    device = next(network.encoder.parameters()).device
    parts = [network.get_feats(_enlarged(part).to(device)) for part in frames.split(_TAKEN_TOGETHER)]
    return torch.from_numpy(np.concatenate(parts)).float()


def _enlarged(frames):
    """uint8 (n, T, 3, 32, 32) → float32 (n, T, 3, 224, 224) in 0 … 1."""
    large = F.interpolate(frames.flatten(0, 1).float() / 255, (224, 224), mode="bilinear")
    return large.unflatten(0, frames.shape[:2])
