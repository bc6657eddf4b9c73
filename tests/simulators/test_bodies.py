"""Bodies of several masses, side by side, against the flow of one state, closed forms and conservation."""

import numpy as np
import pytest

from hjepa_utils import advance_balls, advance_bodies, kinetic_energy, render_frames, simulate_bodies
from hjepa_utils.simulators.bodies import body_contacts, flow
from hjepa_utils.simulators.impacts import advance

SIZE, DT = 256.0, 1 / 30


def sequences(n, n_frames=41, n_bodies=3, seed=0, force=450.0, **options):
    """Masses (n, n_bodies), forces held over five frames each, states."""
    rng = np.random.default_rng(seed)
    masses = rng.uniform(0.5, 2.0, (n, n_bodies))
    blocks = rng.uniform(-force, force, (n, n_frames // 5 + 1, n_bodies, 2))
    forces = np.repeat(blocks, 5, axis=1)[:, : n_frames - 1]
    return masses, forces, simulate_bodies(n, n_frames, rng=rng, masses=masses, forces=forces, **options)


@pytest.mark.parametrize("n_bodies", [1, 2, 3, 4])
def test_every_frame_is_the_flow_of_one_state(n_bodies):
    masses, forces, states = sequences(40, n_bodies=n_bodies, speed=120.0)
    n_contacts = 0
    for m, f, path in zip(masses, forces, states, strict=True):
        for t in range(40):
            kicked = path[t].copy()
            kicked[:, 2:] += f[t] * DT / m[:, None]
            expected, met = advance(kicked, DT, SIZE, 20 * np.sqrt(m), m)
            n_contacts += met
            np.testing.assert_allclose(path[t + 1], expected, rtol=0, atol=1e-9)
    assert n_contacts >= {1: 0, 2: 20, 3: 60, 4: 120}[n_bodies]


def test_the_whole_way_is_the_flow_of_one_state():
    """Contacts multiply rounding, some 10× each, so sequences with few of them."""
    masses, forces, states = sequences(30)
    few = body_contacts(states, masses, forces).sum(axis=1) <= 3
    assert few.sum() >= 15
    for m, f, path in zip(masses[few], forces[few], states[few], strict=True):
        state = path[0]
        for t in range(40):
            state = np.hstack([state[:, :2], state[:, 2:] + f[t] * DT / m[:, None]])
            state, _ = advance(state, DT, SIZE, 20 * np.sqrt(m), m)
        np.testing.assert_allclose(path[-1], state, rtol=0, atol=1e-9)


def test_equal_balls_are_those_of_notebook_1():
    start = simulate_bodies(1, 1, rng=np.random.default_rng(3), masses=(1.0, 1.0), speed=150.0)[:, 0]
    path = advance_bodies(start, (1.0, 1.0), np.zeros((1, 60, 2, 2)))
    np.testing.assert_allclose(path[0, -1], advance_balls(start[0], 2.0), rtol=0, atol=1e-9)


def test_energy_is_kept_and_no_body_overlaps_or_leaves():
    masses, _, states = sequences(50, n_frames=101, force=0.0, speed=150.0)
    energy = np.stack([kinetic_energy(path, m) for path, m in zip(states, masses, strict=True)])
    np.testing.assert_allclose(energy, np.broadcast_to(energy[:, :1], energy.shape), rtol=1e-12)
    radii = 20 * np.sqrt(masses)
    inside = np.abs(states[..., :2] - 128) <= 128 - radii[:, None, :, None]
    assert inside.all()
    for a, b in ((0, 1), (0, 2), (1, 2)):
        apart = np.linalg.norm(states[:, :, a, :2] - states[:, :, b, :2], axis=-1)
        assert (apart - (radii[:, a] + radii[:, b])[:, None]).min() > -1e-9


def test_a_contact_of_unequal_masses_is_the_textbooks():
    """Head on, m₁ = 2 m₂: v₁' = (m₁ - m₂) / M v₁ + 2 m₂ / M v₂ and v₂' = 2 m₁ / M v₁ + (m₂ - m₁) / M v₂."""
    m = np.array([2.0, 1.0])
    start = np.array([[[60.0, 128, 90, 0], [150.0, 128, -30, 0]]])
    end = advance_bodies(start, m, np.zeros((1, 30, 2, 2)))[0, -1]
    v1, v2 = 90 / 3 + 2 / 3 * -30, 4 / 3 * 90 - 1 / 3 * -30
    np.testing.assert_allclose(end[:, 2], [v1, v2], rtol=1e-12)
    meeting = (150 - 60 - 20 * (1 + 2**0.5)) / 120
    expected = [60 + 90 * meeting + v1 * (1 - meeting), 150 - 30 * meeting + v2 * (1 - meeting)]
    np.testing.assert_allclose(end[:, 0], expected, rtol=1e-12)
    np.testing.assert_allclose(m @ end[:, 2], 2 * 90 - 30, rtol=1e-12)


def test_momentum_is_kept_away_from_walls():
    box = {"size": 2000.0, "radius": 200.0}
    masses, _, states = sequences(300, n_frames=21, force=0.0, speed=300.0, **box)
    clear = (np.abs(states[..., :2] - 1000) < 760).all(axis=(1, 2, 3))  # by more than a frame's way
    met = body_contacts(states, masses, np.zeros((300, 20, 3, 2)), **box).any(axis=1)
    momentum = (masses[:, None, :, None] * states[..., 2:]).sum(axis=2)[clear & met]
    assert len(momentum) >= 5
    np.testing.assert_allclose(momentum, np.broadcast_to(momentum[:, :1], momentum.shape), atol=1e-9)


def test_a_force_is_a_kick_at_the_frames_start():
    """x_n = x_0 + Σ_{s ≤ n} (v_0 + s F dt / m) dt."""
    start, force = np.array([[[128.0, 128.0, 3.0, -6.0]]]), np.array([90.0, -30.0])
    path = advance_bodies(start, (1.5,), np.broadcast_to(force, (1, 10, 1, 2)))[0, :, 0]
    n = np.arange(11)[:, None]
    velocity = start[0, 0, 2:] + n * force * DT / 1.5
    place = start[0, 0, :2] + n * DT * start[0, 0, 2:] + n * (n + 1) / 2 * DT**2 * force / 1.5
    np.testing.assert_allclose(path, np.hstack([place, velocity]), rtol=1e-12)


def test_contacts_of_one_instant_are_solved_together_beside_others():
    """One ball onto two, as `advance` has it, in a batch with flights that meet nothing."""
    fan = np.array([[128.0, 60, 0, 100], [108, 128, 0, 0], [148, 128, 0, 0]])
    alone = np.array([[60.0, 60, 5, 5], [190, 60, 0, 0], [128, 190, -3, 0]])
    ones = np.ones((3, 3))
    ends, met = flow(np.stack([alone, fan, alone]), 0.5, SIZE, 20 * ones, ones)
    expected = [[0, -20], [-20 * 3**0.5, 60], [20 * 3**0.5, 60]]
    np.testing.assert_allclose(ends[1, :, 2:], expected, rtol=1e-12, atol=1e-10)
    assert met.tolist() == [0, 2, 0]
    np.testing.assert_allclose(ends[2, :, :2], alone[:, :2] + 0.5 * alone[:, 2:], rtol=1e-12)


def test_contacts_without_end_are_refused():
    states = np.array([[[20.0, 20, 10, 10], [60, 20, -10, 5]]])
    with pytest.raises(ValueError, match=r"in one instant, last between .*: give the balls room"):
        flow(states, 1.0, 80.0, np.full((1, 2), 20.0), np.ones((1, 2)))


def test_starts_fill_the_box_and_leave_a_gap():
    masses, _, states = sequences(4000, n_frames=1)
    x, radii = states[:, 0, :, :2], 20 * np.sqrt(masses)
    free = (x - radii[..., None]) / (SIZE - 2 * radii[..., None])
    assert free.min() >= 0
    assert free.max() <= 1
    assert np.histogram(free, bins=4)[0].min() > 0.22 * free.size
    assert states[:, 0, :, 2:].std() == pytest.approx(60, rel=0.02)


def test_the_same_generator_gives_the_same_sequences():
    first, second = (sequences(5, n_frames=11, seed=4)[2] for _ in range(2))
    assert np.array_equal(first, second)


def test_a_body_is_drawn_with_its_own_radius():
    frames = render_frames([[[60, 60, 0, 0], [180, 180, 0, 0]]], radius=(10.0, 30.0))
    drawn = [np.sqrt(frames[0, ..., channel].sum() / 255 / np.pi) for channel in (1, 0)]
    np.testing.assert_allclose(drawn, (10.0, 30.0), rtol=0, atol=1.0)  # OpenCV adds half a pixel
    with pytest.raises(ValueError, match="a number, or one a ball, here 3; got 2"):
        render_frames(np.full((1, 3, 4), 128.0), radius=(10.0, 30.0))


START = np.array([[[60.0, 60, 0, 0], [180, 180, 0, 0]]])
GOOD = {"n_sequences": 2, "n_frames": 3, "rng": np.random.default_rng(0), "masses": (1.0, 2.0)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_sequences": 0}, "n_sequences must be a whole number, 1 or more, got 0"),
        ({"n_frames": 2.5}, "n_frames must be a whole number"),
        ({"rng": 3}, "numpy.random.default_rng"),
        ({"masses": 1.0}, r"masses must be \(N,\) or \(2, N\), got \(\)"),
        ({"masses": np.ones((3, 2))}, r"\(2, N\), got \(3, 2\)"),
        ({"masses": (1.0, -2.0)}, "finite and positive, between 1e-50 and 1e50, got -2.0"),
        ({"masses": (1.0, np.nan)}, "got nan"),
        ({"masses": (50.0, 1.0)}, "size must lie between 2 and 1e9 times the radius of 141.4"),
        ({"masses": (12.0, 12.0)}, r"no room for bodies of radii \[69.3, 69.3\]"),
        ({"forces": np.zeros((2, 3, 2, 2))}, r"forces must be \(2, 2, 2, 2\).*got \(2, 3, 2, 2\)"),
        ({"forces": np.full((2, 2, 2, 2), np.inf)}, "forces must be finite"),
        ({"radius": np.ones(3)}, r"radius must be a number, or one a body, here 2; got \(3,\)"),
        ({"radius": np.ones((5, 2))}, r"one a body, here 2; got \(5, 2\)"),
        ({"speed": -1.0}, "speed must be finite and not negative"),
        ({"fps": 0}, "fps must be finite and positive"),
        ({"size": np.nan}, "size must be finite and positive"),
    ],
)
def test_what_cannot_be_simulated_is_one_sentence(change, words, monkeypatch):
    monkeypatch.setattr("hjepa_utils.simulators.bodies._MAX_DRAWS", 200)
    call = GOOD | change
    with pytest.raises(ValueError, match=words):
        simulate_bodies(call.pop("n_sequences"), call.pop("n_frames"), **call)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"states": START[0]}, r"states have shape \(B, N, 4\), a row a body; got \(2, 4\)"),
        ({"states": START * np.nan}, "states must be finite"),
        ({"states": START - [50, 0, 0, 0]}, "sequence 0 has one 10 px outside"),
        ({"states": START / 5 + 30}, "bodies overlap in sequence 0, by 6.05.* px"),
        ({"masses": np.ones(3)}, r"masses must be \(2,\) or \(1, 2\), got \(3,\)"),
        ({"forces": np.zeros((1, 5, 3, 2))}, r"got \(1, 5, 3, 2\)"),
        ({"forces": np.zeros((5, 2, 2))}, r"got \(5, 2, 2\)"),
        ({"states": np.zeros((0, 2, 4))}, r"\(B, N, 4\), a row a body; got \(0, 2, 4\)"),
    ],
)
def test_states_that_are_none_are_one_sentence(change, words):
    call = {"states": START, "masses": (1.0, 1.0), "forces": np.zeros((1, 2, 2, 2))} | change
    with pytest.raises(ValueError, match=words):
        advance_bodies(**call)


@pytest.mark.parametrize(
    ("states", "words"),
    [
        (START, r"states have shape \(B, T, N, 4\), two frames or more; got \(1, 2, 4\)"),
        (START[:, None], r"two frames or more; got \(1, 1, 2, 4\)"),
        (START[:, None].repeat(2, axis=1) * np.nan, "states must be finite"),
    ],
)
def test_paths_that_are_none_are_one_sentence(states, words):
    with pytest.raises(ValueError, match=words):
        body_contacts(states, np.ones(2), np.zeros((1, 1, 2, 2)))
