"""The explorer's page: its numbers against the models, its pictures against the videos."""

import base64
import io
import json
import re

import numpy as np
import pytest
import torch
from helpers import ROOT, oscillators
from PIL import Image
from sklearn.decomposition import PCA

import hjepa_utils as hj
from hjepa_utils.systems.hjepa import explorer

COMMITTED = ROOT / "figures" / "explorer.html"


def data_of(text):
    return json.loads(re.search(r'type="application/json">(.*?)</script>', text, re.DOTALL)[1])


class Turned:
    """A turn in every plane (q_i, p_i), the same angle each step."""

    def __init__(self, angle):
        self.angle = angle

    def rollout(self, z0, n_steps):
        q, p = z0.chunk(2)
        angles = self.angle * torch.arange(n_steps + 1.0)[:, None]
        return torch.cat([q * angles.cos() + p * angles.sin(), p * angles.cos() - q * angles.sin()], dim=1)


class Broken:
    """A rollout that ran away after its first step."""

    def rollout(self, z0, n_steps):
        path = z0.repeat(n_steps + 1, 1)
        path[2:] = float("nan")
        return path


def energy(z):
    return 0.5 * z.square().sum(dim=-1)


@pytest.fixture
def videos():
    return dict(zip(("one", "two"), oscillators(2, length=12), strict=True))


@pytest.fixture
def data(videos):
    film = {"n_frames": 45, "per_step": 4, "size": 8, "sheet": "data:,", "thumbnail": "data:,"}
    models = {"HNN": Turned(0.3), "MLP": Broken()}
    train = oscillators(30, seed=1).flatten(0, 1)
    return explorer.explorer_data(videos, [film] * 2, models, train, energy=energy, start=2)


def test_numbers_are_those_of_the_rollouts(videos, data):
    for (name, clips), shown in zip(videos.items(), data["videos"], strict=True):
        true = clips[2:].numpy()
        q, p = true[0, :2], true[0, 2:]
        t = 0.3 * np.arange(10)[:, None]
        path = np.concatenate([q * np.cos(t) + p * np.sin(t), p * np.cos(t) - q * np.sin(t)], axis=1)
        of_hnn = shown["paths"]["HNN"]
        assert (shown["name"], shown["n_steps"], data["start"]) == (name, 9, 2)
        np.testing.assert_allclose(of_hnn["error"], ((path - true) ** 2).mean(axis=1), rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(of_hnn["H"], np.full(10, 0.5 * (true[0] ** 2).sum()), rtol=1e-3)
        names = [plane["name"] for plane in data["planes"]]
        pair = of_hnn["planes"][names.index("pair q, p number 1")]
        np.testing.assert_allclose(pair, path[:, [1, 3]], rtol=1e-3, atol=1e-4)
        assert shown["paths"]["true latents"]["error"] == [0] * 10


def test_what_is_not_finite_becomes_null_and_the_rest_stays(data):
    of_mlp = data["videos"][0]["paths"]["MLP"]
    assert None not in of_mlp["error"][:2] and of_mlp["error"][2:] == [None] * 8
    assert of_mlp["planes"][0][5] == [None, None]
    assert "NaN" not in explorer.page(data)


def test_principal_planes_are_scikit_learns():
    scales = torch.tensor([3.0, 2.0, 1.0, 0.5])
    z = torch.randn(500, 4, generator=torch.manual_seed(0), dtype=torch.float64) * scales
    z -= z.mean(dim=0)
    basis, labels = explorer.planes(z)["principal components 1 and 2"]
    pca = PCA(2).fit(z.numpy())
    np.testing.assert_allclose(np.abs((z @ basis).numpy()), np.abs(pca.transform(z.numpy())), atol=1e-9)
    shares = [
        f"component {k + 1} ({share:.0%} of the variance)"
        for k, share in enumerate(pca.explained_variance_ratio_)
    ]
    assert labels == shares


def test_spread_and_average_are_of_the_training_data(data):
    train = oscillators(30, seed=1).flatten(0, 1).double().numpy()
    levels = 0.5 * (train**2).sum(axis=1)
    band = levels.mean() + levels.std(ddof=1) * np.array([-1, 1])
    np.testing.assert_allclose(data["energy"]["band"], band, rtol=1e-3)
    assert data["error"]["average"] == pytest.approx(train.var(axis=0).mean(), rel=1e-3)


def test_balls_are_what_the_probe_reads_in_px():
    rng = np.random.default_rng(0)
    states = rng.uniform(30, 220, (60, 2, 4))
    z = torch.from_numpy(states.reshape(60, 8) / 100).float()  # a probe reads this exactly
    videos = {"one": z[:5]}
    film = {"n_frames": 17, "per_step": 4, "size": 8, "sheet": "data:,", "thumbnail": "data:,"}
    about = {"energy": energy, "probe": hj.StateProbe(z.numpy(), states), "states": states[None, :5]}
    models = {"MLP": hj.Persistence()}
    paths = explorer.explorer_data(videos, [film], models, z, **about)["videos"][0]["paths"]
    first = states[0, :, :2].ravel()
    np.testing.assert_allclose(paths["true latents"]["balls"], states[:5, :, :2].reshape(5, 4), rtol=2e-3)
    np.testing.assert_allclose(paths["MLP"]["balls"], np.tile(first, (5, 1)), rtol=2e-3)
    off = np.sqrt(((states[:5, :, :2].reshape(5, 4) - first) ** 2).mean(axis=1))
    np.testing.assert_allclose(paths["MLP"]["off"], off, atol=0.3)


def test_a_film_holds_the_frames_between_the_clips_middles(tmp_path):
    states = hj.simulate_collisions(60, rng=np.random.default_rng(3))
    frames = hj.render_frames(states)
    hj.write_video(tmp_path / "balls.mp4", frames)
    film = explorer.film(tmp_path / "balls.mp4", 3, per_step=2, size=256)
    assert (film["n_frames"], film["per_step"]) == (7, 2)
    sheet = Image.open(io.BytesIO(base64.b64decode(film["sheet"].split(",")[1]))).convert("RGB")
    for k, frame in enumerate(range(8, 21, 2)):  # clips of 16 frames every 4: middles at 8, 12, …
        shown = np.asarray(sheet.crop((256 * k, 0, 256 * (k + 1), 256))).astype(int)
        assert np.abs(shown - frames[frame]).mean() < 1.5
    with pytest.raises(ValueError, match="has 60 frames, and 20 steps need 89"):
        explorer.film(tmp_path / "balls.mp4", 20)
    with pytest.raises(ValueError, match="a stride of 4 frames cannot be shown in 3 parts"):
        explorer.film(tmp_path / "balls.mp4", 3, per_step=3)


def test_a_start_without_a_following_clip_is_refused(videos):
    film = {"n_frames": 45, "per_step": 4, "size": 8, "sheet": "", "thumbnail": ""}
    with pytest.raises(ValueError, match="start=11 is too late"):
        explorer.explorer_data(videos, [film] * 2, {}, videos["one"], energy=energy, start=11)


def test_a_name_cannot_end_the_data_and_a_page_stays_small(data):
    data["videos"][0]["name"] = "</script><script>alert(1)//"
    text = explorer.page(data)
    assert text.count("</script>") == 2 and data_of(text) == data
    data["videos"][0]["sheet"] = "x" * explorer.MAX_BYTES
    with pytest.raises(ValueError, match="above 3,000,000: give fewer videos"):
        explorer.page(data)


def test_in_a_notebook_the_page_is_one_attribute(data):
    shown = explorer.in_notebook(explorer.page(data))
    assert shown.count('"') == 4  # srcdoc and style: nothing of the page gets out


def test_the_committed_page_is_small_and_asks_for_nothing():
    text = COMMITTED.read_text(encoding="utf-8")
    assert len(text.encode()) < explorer.MAX_BYTES
    assert not re.findall(r"https?:|\bfetch\(|XMLHttp|import\s*\(|<link|@import", text)
    data = data_of(text)
    assert explorer.page(data) == text  # the committed style and script are the present ones
    assert [model["name"] for model in data["models"]] == ["true latents", "HNN", "MLP", "linear map"]
    assert len(data["videos"]) == 10


def test_the_committed_page_shows_the_models_that_ship(tmp_path):
    """One of its videos made anew, encoded and predicted from."""
    shown = data_of(COMMITTED.read_text(encoding="utf-8"))["videos"][0]
    seed = [0, int(shown["name"].removeprefix("video_"))]
    hj.write_video(
        tmp_path / "again.mp4", hj.render_frames(hj.simulate_collisions(rng=np.random.default_rng(seed)))
    )
    clips = hj.encode_video(hj.load_encoder("embedded"), tmp_path / "again.mp4")
    for name in ("HNN", "MLP"):
        model = hj.load_model(name.lower())
        z = model.standardiser(clips)
        with torch.no_grad():
            path = model.dynamics.rollout(z[0], len(z) - 1)
        error = (path - z).square().mean(dim=1).tolist()
        assert shown["paths"][name]["error"] == pytest.approx(error, rel=0.02, abs=1e-3)
        if name == "HNN":
            h = model.dynamics.energy(path).tolist()
            assert shown["paths"]["HNN"]["H"] == pytest.approx(h, rel=0.01)
