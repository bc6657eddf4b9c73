"""Probes on latents that are a linear map of the state, and contacts of trajectories drawn by hand."""

import numpy as np
import pytest
import torch

from hjepa_utils import encode_video, kinetic_energy, load_encoder, render_frames, simulate_collisions
from hjepa_utils.probing import StateProbe, contact_masks, simulate_latents


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


def test_a_linear_latent_is_read_without_error(states):
    fitted, others = states[:12], states[12:]
    z = latents_of(states, states)
    probe = StateProbe(z[:12].reshape(-1, 9), fitted.reshape(-1, 2, 4))
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
