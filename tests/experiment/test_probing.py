"""Probes on latents that are a linear map of the state, and contacts of trajectories drawn by hand."""

import numpy as np
import pytest
import torch

from hjepa_utils import (
    encode_video,
    frame_pca,
    kinetic_energy,
    load_encoder,
    probe_scores,
    render_frames,
    ridge_probe,
    simulate_collisions,
)
from hjepa_utils.experiment.probing import StateProbe
from hjepa_utils.latents.clips import simulate_latents
from hjepa_utils.simulators.billiards import contact_masks


@pytest.fixture
def states():
    return np.stack([simulate_collisions(60, rng=np.random.default_rng(k))[::4] for k in range(16)])


def latents_of(states, scale_of):
    """Positions, velocities and energy in units of their spread in `scale_of`, turned by a rotation."""

    def parts(states):
        energy = kinetic_energy(states)[..., None]
        return np.concatenate([states.reshape(*states.shape[:-2], 8), energy], axis=-1)

    rotation = np.linalg.qr(np.random.default_rng(5).normal(size=(9, 9)))[0]
    return parts(states) / parts(scale_of).reshape(-1, 9).std(axis=0) @ rotation


@pytest.fixture(scope="module")
def clips():
    """The states at 34 clips of each of 20 videos, and the video of each."""
    states = [simulate_collisions(150, rng=np.random.default_rng(s))[7:140:4] for s in range(20)]
    return np.concatenate(states), np.arange(20).repeat(34)


def test_a_linear_latent_is_read_without_error(states):
    fitted, others = states[:12], states[12:]
    z = latents_of(states, states)
    probe = StateProbe(z[:12].reshape(-1, 9), fitted.reshape(-1, 2, 4))
    read = probe.read(z[12:])  # (4, 15, 9) latents
    np.testing.assert_allclose(read["position"], others[..., :2].reshape(4, 15, 4), atol=0.2)
    np.testing.assert_allclose(read["velocity"], others[..., 2:].reshape(4, 15, 4), atol=0.2)
    np.testing.assert_allclose(read["energy"][..., 0], kinetic_energy(others), rtol=1e-3)
    errors = probe.errors(z[None, 12:], others)
    shapes = dict.fromkeys(errors, (1, 4, 15)) | {"largest energy drift": (1, 4, 1)}
    assert {name: values.shape for name, values in errors.items()} == shapes
    assert errors["position"].max() < 0.1 and errors["velocity"].max() < 0.1
    assert errors["energy"].max() < 1e-3 and errors["largest energy drift"].max() < 2e-3


def test_errors_are_in_pixels_and_in_units_of_the_energys_spread(states):
    z = latents_of(states, states)
    probe = StateProbe(z[:12].reshape(-1, 9), states[:12].reshape(-1, 2, 4))
    shifted, faster = states[12:].copy(), states[12:].copy()
    shifted[..., 0] += 10  # x of both balls, so two of four coordinates
    np.testing.assert_allclose(probe.errors(z[None, 12:], shifted)["position"], 10 / np.sqrt(2), atol=0.1)
    faster[:, 1:, :, 2:] *= 2
    change = 3 * kinetic_energy(states[12:, 1:]) / kinetic_energy(states[:12]).std()
    two = np.stack([latents_of(faster, states)] * 2)
    read = probe.errors(two, states[12:])
    np.testing.assert_allclose(read["energy"][1, :, 1:], change, rtol=1e-3)
    np.testing.assert_allclose(read["energy drift"][0, :, 1:], change, rtol=1e-3)
    np.testing.assert_allclose(read["largest energy drift"][0, :, 0], change.max(axis=1), rtol=1e-3)


def test_contacts_and_walls_of_a_path_drawn_by_hand():
    """Ball 0 flies to the right wall and back; ball 1 rests in the middle."""
    x, v = [200.0, 210.0, 226.0, 230.0, 220.0], [10.0, 10.0, 10.0, -10.0, -10.0]
    states = np.zeros((1, 5, 2, 4))
    states[0, :, 0] = np.column_stack([x, np.full(5, 128.0), v, np.zeros(5)])
    states[0, :, 1] = (128.0, 60.0, 0.0, 0.0)
    masks = contact_masks(states)
    assert masks["after contact"].tolist() == [[False, False, True, True]]
    assert masks["near a wall"].tolist() == [[False, True, True, True]]  # within 20 of 236
    assert (masks["before contact"] == ~masks["after contact"]).all()
    assert (masks["far from walls"] == ~masks["near a wall"]).all()


def test_simulated_latents_are_the_encoders_of_the_simulators_videos():
    encoder = load_encoder("embedded")
    latents = simulate_latents(encoder, 2, seed=7, n_frames=20, radius=28.0)
    states = simulate_collisions(20, rng=np.random.default_rng([7, 1]), radius=28.0)
    frames = torch.from_numpy(render_frames(states, radius=28.0)).permute(0, 3, 1, 2)
    assert latents.shape == (2, 2, encoder.latent_dim)
    torch.testing.assert_close(latents[1], encode_video(encoder, frames))


def test_the_probe_recovers_a_linear_map():
    rng = np.random.default_rng(0)
    scales, matrix = np.geomspace(0.01, 100, 12), rng.normal(size=(12, 3))
    train, test = rng.normal(size=(300, 12)) * scales, rng.normal(size=(50, 12)) * scales
    probe = ridge_probe().fit(train, (train / scales) @ matrix + 7)
    np.testing.assert_allclose(probe.predict(test), (test / scales) @ matrix + 7, atol=1e-3)


def test_the_probe_finds_nothing_in_noise():
    rng = np.random.default_rng(0)
    z, target = rng.normal(size=(400, 50)), rng.normal(size=400)
    assert ridge_probe().fit(z[:300], target[:300]).score(z[300:], target[300:]) < 0.1


def test_what_is_in_the_latents_is_read_from_them(clips):
    states, videos = clips
    latents = np.hstack([states.reshape(len(states), 8), kinetic_energy(states)[:, None]])
    latents = latents @ np.random.default_rng(0).normal(size=(9, 12))
    assert all(score > 0.999 for score in probe_scores(latents, states, videos).values())


def test_what_is_not_in_the_latents_is_not_found(clips):
    states, videos = clips
    scores = probe_scores(states[..., :2].reshape(-1, 4), states, videos)
    assert scores["position"] > 0.999
    assert max(score for name, score in scores.items() if name != "position") < 0.3


def test_a_latent_that_only_names_its_video_reads_no_energy(clips):
    """It would, were clips of one video on both sides."""
    states, videos = clips
    names = np.random.default_rng(0).normal(size=(20, 30))[videos]
    assert probe_scores(names, states, videos)["energy, straight from z"] < 0.3


def test_frame_pca_is_that_of_the_pixels_written_out():
    generator = torch.Generator().manual_seed(0)
    videos = [torch.randint(0, 256, (n, 3, 8, 8), generator=generator, dtype=torch.uint8) for n in (9, 6)]
    found = frame_pca(videos, 3, seed=0, clip_frames=4, stride=2, size=4)
    rows = []
    for video in videos:
        for start in range(0, len(video) - 3, 2):
            clip = video[start : start + 4].numpy().astype(float)
            rows.append(clip.reshape(4, 3, 4, 2, 4, 2).mean(axis=(3, 5)).ravel())
    centred = np.stack(rows) - np.mean(rows, axis=0)
    u, scale, _ = np.linalg.svd(centred, full_matrices=False)
    assert found.shape == (5, 3)  # 3 and 2 clips
    np.testing.assert_allclose(np.abs(found), np.abs(u * scale)[:, :3], rtol=1e-3, atol=1e-2)
