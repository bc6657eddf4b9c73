"""Contact dynamics learned from tracks, against the simulator's own walls, masses and motion."""

import numpy as np
import pytest
import torch

import hjepa_utils as hj
from hjepa_utils.systems.contact.surfaces import Pair, Wall

RADIUS, SIZE = 20.0, 256.0


def tracks(n_videos, *, seed=0, masses=(1.0, 1.0), n_times=34, stride=4, **options):
    """True states (n_videos, n_times, D), positions and then velocities, 2 / 15 s apart."""
    n_frames = stride * (n_times - 1) + 1
    videos = [
        hj.simulate_collisions(n_frames, rng=np.random.default_rng([seed, k]), masses=masses, **options)
        for k in range(n_videos)
    ]
    states = torch.from_numpy(np.stack(videos))[:, ::stride]
    return torch.cat([states[..., :2].flatten(2), states[..., 2:].flatten(2)], dim=-1)


@pytest.fixture(scope="module")
def learned():
    return hj.ContactDynamics.fit(tracks(10))


def sixteen(states):
    return hj.make_windows(states, 16).flatten(0, 1)


def worst(model, windows):
    with torch.no_grad():
        return (model.rollout(windows[:, 0], 15) - windows).abs().max().item()


def test_finds_the_box_and_the_distance_of_contact(learned):
    walls = [surface for surface in learned.surfaces if isinstance(surface, Wall)]
    (pair,) = [surface for surface in learned.surfaces if isinstance(surface, Pair)]
    low, high = RADIUS, SIZE - RADIUS
    true = {((1, 0), low), ((-1, 0), -high), ((0, 1), low), ((0, -1), -high)}
    for body in (0, 1):
        found = {(tuple(np.round(w.normal, 9) + 0.0), round(w.offset, 8)) for w in walls if w.body == body}
        assert found == true
    assert pair.bodies == (0, 1)
    assert pair.distance == pytest.approx(2 * RADIUS, abs=1e-9)
    np.testing.assert_allclose(pair.shift, 0, atol=1e-9)
    assert all(surface.n_events > 0 for surface in learned.surfaces)


def test_predicts_videos_it_has_not_seen_to_rounding(learned):
    assert (
        worst(learned, sixteen(tracks(5, seed=1))) < 1e-8
    )  # px and px/s, after chaos has multiplied rounding


def test_learns_free_flight_per_step(learned):
    np.testing.assert_allclose(learned.rate.detach(), 4 / 30, rtol=1e-12)
    np.testing.assert_allclose(learned.drift.detach(), 0, atol=1e-10)


def test_does_not_depend_on_units_or_origins_of_the_coordinates():
    states, new = tracks(10), tracks(3, seed=1)
    generator = torch.Generator().manual_seed(0)
    scale = 1 + 2 * torch.rand(8, generator=generator, dtype=torch.float64)
    origin = 50 * torch.randn(8, generator=generator, dtype=torch.float64)
    model = hj.ContactDynamics.fit((states - origin) / scale)
    with torch.no_grad():
        predicted = model.rollout((new[:, 0] - origin) / scale, 15) * scale + origin
    assert (predicted - new[:, :16]).abs().max() < 1e-8


def test_taking_each_coordinate_as_canonical_would_be_wrong():
    """Why scales are learned: with equal ones, bodies that meet would reflect otherwise."""
    scale = torch.tensor([1.0, 2.0, 1.0, 1.0], dtype=torch.float64).repeat(2)
    model, new = hj.ContactDynamics.fit(tracks(10) / scale), tracks(5, seed=1) / scale
    learned = model.scale.detach()[0]
    assert (learned[1] / learned[0]).item() == pytest.approx(2.0, abs=1e-12)
    assert worst(model, sixteen(new)) < 1e-8
    with torch.no_grad():
        model.wall_offset.mul_(1 / model.scale[model.wall_bodies][model.wall_normal.abs() > 0.5])
        model.scale.fill_(1.0)
    assert worst(model, sixteen(new)) > 1


@pytest.mark.parametrize("masses", [(1.0, 4.0), (3.0, 1.0, 2.0)])
def test_finds_unequal_masses_and_more_bodies(masses):
    model = hj.ContactDynamics.fit(tracks(20, masses=masses))
    np.testing.assert_allclose(model.mass.detach(), np.array(masses) / masses[0], rtol=1e-9)
    assert worst(model, sixteen(tracks(3, seed=1, masses=masses))) < 1e-6


def test_energy_is_the_kinetic_one_per_step():
    masses = (1.0, 4.0)
    model, states = hj.ContactDynamics.fit(tracks(20, masses=masses)), tracks(2, seed=1, masses=masses)
    pairs = torch.cat([states[..., :4].unflatten(-1, (2, 2)), states[..., 4:].unflatten(-1, (2, 2))], dim=-1)
    true = hj.kinetic_energy(pairs.numpy(), masses) * (4 / 30) ** 2
    np.testing.assert_allclose(model.energy(states).detach(), true, rtol=1e-9)


def test_takes_over_a_wall_that_only_the_other_body_has_met():
    states = tracks(10)
    low = states[..., 1].amin(dim=1) > RADIUS + 12  # ball 0 has stayed off the upper wall
    kept = states[low]
    model = hj.ContactDynamics.fit(kept)
    assert 0 in model.n_events
    assert worst(model, sixteen(tracks(5, seed=1))) < 1e-7


def test_float32_states_come_back_as_float32():
    states = tracks(10).float()
    model, new = hj.ContactDynamics.fit(states), tracks(3, seed=1)
    with torch.no_grad():
        predicted = model.rollout(new[:, 0].float(), 15)
    assert predicted.dtype == torch.float32
    assert (predicted[:, :6] - new[:, :6]).abs().max() < 0.05


def test_half_a_pixel_of_noise_moves_walls_by_less():
    states, rng = tracks(20), np.random.default_rng(0)
    noise = torch.from_numpy(rng.normal(size=states.shape)) * states.std(dim=(0, 1)) * 0.5 / 56
    model = hj.ContactDynamics.fit(states + noise)
    walls = [surface for surface in model.surfaces if isinstance(surface, Wall)]
    assert len(walls) == 8 and len(model.surfaces) == 9
    in_px = [w.normal * model.scale[w.body].detach().numpy() for w in walls]  # the scales are learned too
    lengths = np.linalg.norm(in_px, axis=1)
    from_centre = (in_px @ np.full(2, SIZE / 2) - [w.offset for w in walls]) / lengths
    np.testing.assert_allclose(from_centre, SIZE / 2 - RADIUS, atol=0.5)
    assert model.surfaces[-1].distance == pytest.approx(2 * RADIUS, abs=0.5)


def test_is_saved_and_loaded_with_the_same_bits(learned, tmp_path):
    learned.save_pretrained(tmp_path / "model")
    loaded = hj.ContactDynamics.from_pretrained(tmp_path / "model")
    z0 = tracks(2, seed=1)[:, 0]
    assert torch.equal(loaded.rollout(z0, 30), learned.rollout(z0, 30))
    assert str(loaded.surfaces) == str(learned.surfaces)


def test_rollouts_keep_the_shape_of_what_comes_before_the_state(learned):
    z0 = tracks(6, seed=1)[:, 0].reshape(2, 3, 8)
    assert learned.rollout(z0, 4).shape == (2, 3, 5, 8)
    assert learned.rollout(z0[0, 0], 0).shape == (1, 8)
    torch.testing.assert_close(learned.rollout(z0[1, 2], 4), learned.rollout(z0, 4)[1, 2])


def test_says_what_is_wrong_with_states():
    states = tracks(3)
    broken, still = states.clone(), states.clone()
    broken[1, 7, 2] = torch.nan
    still[..., 3] = 128.0
    rng = np.random.default_rng(0)
    walk = rng.normal(size=(3, 34, 8)).cumsum(axis=1)
    falling = states + 0.3 * torch.arange(34)[:, None] * (torch.arange(8) == 7)
    first = tracks(40)[:, :3]
    straight = first[(first[:, 0, 4:] == first[:, 2, 4:]).all(dim=1)]
    for bad, message in [
        (broken, "video 1 holds NaN or infinity at time 7"),
        (still, "coordinate 3 of 8 never changes"),
        (states[0], r"n_videos, n_times, D.*got float64 \(34, 8\)"),
        (states[..., :6], "multiple of 4, got 6"),
        (walk, "no flights and contacts"),
        (falling, "a steady force"),
        (straight, "no body meets anything in"),
    ]:
        with pytest.raises(ValueError, match=message):
            hj.ContactDynamics.fit(bad)
    with pytest.raises(ValueError, match="width 8"):
        hj.ContactDynamics.fit(states).rollout(states[0, 0, :6], 2)


def test_says_that_contacts_lose_energy():
    """One body in a box whose walls return 0.8 of the velocity: every axis by itself, in closed form."""

    def along_an_axis(start, speed, times):
        out = []
        for time in times:
            x, v, left = start, speed, time
            while (wait := (236 - x if v > 0 else 20 - x) / v) < left:
                x, v, left = (236.0 if v > 0 else 20.0), -0.8 * v, left - wait
            out.append((x + v * left, v))
        return np.array(out)

    rng, times = np.random.default_rng(0), np.arange(34) * 4 / 30
    videos = []
    for _ in range(10):
        x, y = (along_an_axis(rng.uniform(20, 236), rng.uniform(80, 200), times) for _ in range(2))
        videos.append(np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1))
    with pytest.raises(ValueError, match=r"contacts change the energy, by -\d+ %"):
        hj.ContactDynamics.fit(np.stack(videos))


@pytest.mark.parametrize(
    ("video", "first", "message"),
    [
        (0, 2, "too few free flights, .* of 7 intervals .*: give more videos"),
        (3, 0, "coordinate 4 of 8 never changes: this velocity shows no contact, so give more videos"),
        (2, 0, "too few free flights, .* or all at one velocity: give more videos"),
    ],
)
def test_eight_states_are_too_few(video, first, message):
    with pytest.raises(ValueError, match=message):
        hj.ContactDynamics.fit(tracks(4)[video : video + 1, first : first + 8])


def test_warns_where_many_contacts_fit_nothing():
    """Kicks out of nowhere are no contacts."""
    states, rng = tracks(10), np.random.default_rng(0)
    states[..., 4:] += torch.from_numpy(rng.choice([0.0, 60.0], size=(10, 34, 4), p=[0.99, 0.01]))
    with pytest.warns(UserWarning, match="contacts fit no straight wall and no distance") as caught:
        hj.ContactDynamics.fit(states)
    assert caught[0].filename == __file__
