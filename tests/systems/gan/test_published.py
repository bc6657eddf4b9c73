"""The published networks: how they are asked, and what is said without them."""

import sys

import numpy as np
import pytest
import torch

from hjepa_utils.systems.gan.published import i3d_features, jedi_features


class StandIn(torch.nn.Module):
    def forward(self, x, rescale: bool, resize: bool, return_features: bool):
        assert x.dtype == torch.uint8 and rescale and resize and return_features
        return x.float().mean(dim=(2, 3, 4))


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")  # the published file is of that kind
def test_the_published_network_is_asked_as_its_evaluation_does(tmp_path):
    torch.jit.script(StandIn()).save(tmp_path / "i3d.pt")
    frames = torch.from_numpy(np.random.default_rng(0).integers(256, size=(3, 16, 3, 32, 32), dtype=np.uint8))
    found = i3d_features(tmp_path / "i3d.pt", frames)
    torch.testing.assert_close(found, frames.float().mean(dim=(1, 3, 4)))


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_without_the_published_weights_it_says_what_to_do(tmp_path):
    frames = torch.zeros(1, 16, 3, 32, 32, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"is not there: the published distance needs i3d_torchscript\.pt"):
        i3d_features(tmp_path / "none.pt", frames)
    (tmp_path / "bad.pt").write_bytes(b"no network")
    with pytest.raises(ValueError, match="is damaged or no TorchScript: fetch it again"):
        i3d_features(tmp_path / "bad.pt", frames)


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_another_network_than_the_published_is_refused(tmp_path):
    torch.jit.script(torch.nn.Identity()).save(tmp_path / "other.pt")
    frames = torch.zeros(1, 16, 3, 32, 32, dtype=torch.uint8)
    with pytest.raises(
        ValueError, match=r"does not take these videos: name the published i3d_torchscript\.pt"
    ):
        i3d_features(tmp_path / "other.pt", frames)


def test_without_the_weights_of_jedi_it_says_which_and_where_from(tmp_path):
    frames = torch.zeros(1, 16, 3, 32, 32, dtype=torch.uint8)
    (tmp_path / "vith16.pth.tar").touch()
    with pytest.raises(ValueError, match=r"ssv2-probe\.pth\.tar is not there: JEDi needs vith16"):
        jedi_features(tmp_path, frames)


def test_without_the_package_of_jedi_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "videojedi", None)  # as where it is not installed
    for name in ("vith16.pth.tar", "ssv2-probe.pth.tar"):
        (tmp_path / name).touch()
    frames = torch.zeros(1, 16, 3, 32, 32, dtype=torch.uint8)
    with pytest.raises(ImportError, match=r"JEDi needs its own package .*: pip install videojedi"):
        jedi_features(tmp_path, frames)
    with pytest.raises(ValueError, match=r"got float32 \(1, 16, 3, 32, 32\): use a uint8 tensor"):
        jedi_features(tmp_path, frames.float())
