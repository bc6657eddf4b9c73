"""The billiards against closed forms: free flight, walls, contacts; and the pictures against geometry."""

import random

import numpy as np
import pytest

from hjepa_utils import (
    advance_balls,
    contacts_per_interval,
    kinetic_energy,
    render_frames,
    simulate_collisions,
)

SIZE, RADIUS = 256.0, 20.0
APART = [[64.0, 128.0, 90.0, 10.0], [192.0, 128.0, -60.0, -20.0]]
THREE = (1.0, 2.5, 0.4)  # masses
PAIRS = ((0, 1), (0, 2), (1, 2))


def triangle_wave(x, low, high):
    """Where a point that reflects at `low` and `high` is, once it has moved freely to x."""
    span = high - low
    return low + span - np.abs((x - low) % (2 * span) - span)


def videos(n, n_frames=150, **options):
    return np.stack(
        [simulate_collisions(n_frames, rng=np.random.default_rng(seed), **options) for seed in range(n)]
    )


def test_energy_is_constant_to_1e_12():
    energy = kinetic_energy(videos(20))
    np.testing.assert_allclose(energy, np.broadcast_to(energy[:, :1], energy.shape), rtol=1e-12)


def test_kinetic_energy_is_half_the_sum_of_squared_speeds():
    assert kinetic_energy(np.array([[0, 0, 3.0, 4.0], [0, 0, 0, 2.0]])) == 0.5 * (25 + 4)


def test_balls_never_overlap_nor_leave_the_box():
    position = videos(60)[..., :2]
    assert position.min() >= RADIUS and position.max() <= SIZE - RADIUS
    distance = np.linalg.norm(position[:, :, 0] - position[:, :, 1], axis=-1)
    assert distance.min() >= 2 * RADIUS - 1e-9


def test_the_flow_runs_back_to_the_start_when_velocities_are_reversed():
    reverse = np.array([1, 1, -1, -1])
    for seed in range(20):
        start = simulate_collisions(1, rng=np.random.default_rng(seed))[0]
        back = advance_balls(advance_balls(start, 3.0) * reverse, 3.0) * reverse
        np.testing.assert_allclose(back, start, rtol=0, atol=1e-8)  # contacts amplify 1e-14 some 10× each


def test_free_flight_is_a_straight_line():
    end = advance_balls(APART, 0.3)
    expected = [[64 + 27, 128 + 3, 90, 10], [192 - 18, 128 - 6, -60, -20]]
    np.testing.assert_allclose(end, expected, rtol=1e-14)


def test_a_head_on_hit_swaps_velocities_at_the_time_the_gap_closes():
    start = [[64.0, 128.0, 100.0, 0.0], [192.0, 128.0, -50.0, 0.0]]
    contact = (128 - 40) / 150
    before, after = advance_balls(start, contact - 1e-9), advance_balls(start, contact + 1e-9)
    np.testing.assert_array_equal(before[:, 2], [100, -50])
    np.testing.assert_array_equal(after[:, 2], [-50, 100])
    seconds = 1.0
    x0 = 64 + 100 * contact - 50 * (seconds - contact)
    x1 = 192 - 50 * contact + 100 * (seconds - contact)
    np.testing.assert_allclose(
        advance_balls(start, seconds), [[x0, 128, -50, 0], [x1, 128, 100, 0]], rtol=1e-13
    )


def test_a_glancing_hit_moves_only_the_momentum_along_the_normal():
    offset, speed = 24.0, 100.0  # at contact the centres are (32, 24) apart: a 3-4-5 triangle of 40
    start = [[60.0, 100.0, speed, 0.0], [160.0, 100.0 + offset, 0.0, 0.0]]
    contact, normal = (100 - 32) / speed, np.array([0.8, 0.6])
    along = speed * normal[0] * normal
    rest = 0.2
    first = [60 + speed * contact, 100] + rest * (np.array([speed, 0]) - along)
    second = [160, 124] + rest * along
    expected = [[*first, *(np.array([speed, 0]) - along)], [*second, *along]]
    np.testing.assert_allclose(advance_balls(start, contact + rest), expected, rtol=1e-12, atol=1e-10)


def test_a_contact_keeps_the_momentum_and_the_velocities_along_the_tangent():
    start = np.array([[80.0, 100.0, 120.0, 40.0], [160.0, 120.0, -80.0, 10.0]])
    end = advance_balls(start, 0.5)
    np.testing.assert_allclose(end[:, 2:].sum(axis=0), start[:, 2:].sum(axis=0), rtol=1e-13)
    change = end[0, 2:] - start[0, 2:]
    tangent = np.array([-change[1], change[0]]) / np.linalg.norm(change)
    np.testing.assert_allclose(end[:, 2:] @ tangent, start[:, 2:] @ tangent, rtol=1e-12)
    assert np.linalg.norm(change) > 1


def test_balls_that_do_not_meet_reflect_as_triangle_waves():
    radius, seconds = 0.01, np.linspace(0, 20, 401)
    start = np.array([[50.0, 60.0, 97.0, -141.0], [200.0, 30.0, -73.0, 55.0]])
    states = np.stack([advance_balls(start, s, radius=radius) for s in seconds])
    assert contacts_per_interval(states, fps=20, radius=radius).sum() == 0
    free = start[:, :2] + seconds[:, None, None] * start[:, 2:]
    expected = triangle_wave(free, radius, SIZE - radius)
    np.testing.assert_allclose(states[..., :2], expected, rtol=0, atol=1e-9)


def test_two_balls_on_one_line_are_two_points_that_pass_through_each_other():
    start = np.array([[50.0, 128.0, 131.0, 0.0], [170.0, 128.0, -83.0, 0.0]])
    seconds = np.arange(301) / 30
    states = np.stack([advance_balls(start, s) for s in seconds])
    points = start[:, 0] - [RADIUS, 3 * RADIUS] + seconds[:, None] * start[:, 2]
    points = np.sort(triangle_wave(points, 0, SIZE - 4 * RADIUS), axis=1)
    np.testing.assert_allclose(states[:, :, 0], points + np.array([RADIUS, 3 * RADIUS]), rtol=0, atol=1e-9)


def test_contacts_are_counted():
    start = np.array([[50.0, 128.0, 131.0, 0.0], [170.0, 128.0, -83.0, 0.0]])
    states = np.stack([advance_balls(start, s) for s in np.arange(301) / 30])
    fine = np.linspace(0, 10, 200_001)[:, None]
    points = triangle_wave(start[:, 0] - [20, 60] + fine * start[:, 2], 0, SIZE - 4 * RADIUS)
    crossings = np.count_nonzero(np.diff(points[:, 0] > points[:, 1]))
    assert contacts_per_interval(states).sum() == crossings > 5


def test_counting_contacts_leaves_the_states_alone():
    states = videos(1)[0]
    before = states.copy()
    assert contacts_per_interval(states).shape == (149,)
    np.testing.assert_array_equal(states, before)


def test_an_interval_may_be_cut_in_two():
    for seed in range(10):
        start = simulate_collisions(1, rng=np.random.default_rng(seed))[0]
        once, twice = advance_balls(start, 2.0), advance_balls(advance_balls(start, 0.71), 1.29)
        np.testing.assert_allclose(twice, once, rtol=0, atol=1e-9)


def test_no_time_changes_nothing_and_the_argument_is_not_written_to():
    start = np.array(APART)
    np.testing.assert_array_equal(advance_balls(start, 0), APART)
    advance_balls(start, 2.0)
    np.testing.assert_array_equal(start, APART)


def test_balls_at_rest_stay():
    still = [[20.0, 20.0, 0.0, 0.0], [60.0, 20.0, 0.0, 0.0]]  # in the corner, touching
    np.testing.assert_array_equal(advance_balls(still, 100.0), still)


def test_the_same_generator_state_gives_the_same_video():
    first, again = (simulate_collisions(30, rng=np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (30, 2, 4) and first.dtype == np.float64
    assert not np.array_equal(first, simulate_collisions(30, rng=np.random.default_rng(4)))


def test_frames_are_one_over_fps_apart():
    states = simulate_collisions(5, rng=np.random.default_rng(0), fps=12)
    np.testing.assert_allclose(states[3], advance_balls(states[0], 3 / 12), rtol=1e-12)


def test_energy_differs_clearly_between_random_videos():
    energy = kinetic_energy(videos(200, n_frames=1)[:, 0])
    assert energy.std() / energy.mean() > 0.4


def test_fixed_starts_follow_the_published_law():
    starts = np.stack(
        [simulate_collisions(1, rng=np.random.default_rng(s), starts="fixed")[0] for s in range(300)]
    )
    assert (starts[..., :2] == [[64, 128], [192, 128]]).all()
    vx, vy = starts[..., 2] / 30, starts[..., 3] / 30
    assert ((vx[:, 0] >= 2) & (vx[:, 0] <= 3) & (vx[:, 1] <= -2) & (vx[:, 1] >= -3)).all()
    assert np.abs(vy).max() <= 1
    error = 6 * np.sqrt(1 / 12 / 300)  # six standard errors of the mean of a unit uniform
    assert abs(vx[:, 0].mean() - 2.5) < error and abs(vy.mean()) < 2 * error


def test_the_defaults_give_the_same_two_ball_videos_as_ever():
    states = simulate_collisions(rng=np.random.default_rng(0))
    # x of ball 0, vy of ball 0 and vx of ball 1 in the last frame, from the code before it knew masses.
    before = [89.12221481653961, 111.52464248977844, 137.13368795867933]
    np.testing.assert_allclose([states[-1, 0, 0], states[-1, 0, 3], states[-1, 1, 2]], before, rtol=1e-9)
    named = {"masses": (1, 1), "speeds": (40, 200)}
    np.testing.assert_array_equal(states, simulate_collisions(rng=np.random.default_rng(0), **named))


@pytest.mark.parametrize("masses", [(1.0, 3.0), (3.0, 1.0), (0.02, 5.0), (2.0, 2.0)])
def test_a_head_on_hit_of_any_masses_follows_the_closed_form(masses):
    (m1, m2), (v1, v2) = masses, (100.0, -50.0)
    end = advance_balls([[64.0, 128.0, v1, 0.0], [192.0, 128.0, v2, 0.0]], 88 / 150 + 0.01, masses=masses)
    after = np.array([((m1 - m2) * v1 + 2 * m2 * v2), ((m2 - m1) * v2 + 2 * m1 * v1)]) / (m1 + m2)
    at_contact = np.array([64 + v1 * 88 / 150, 192 + v2 * 88 / 150])
    np.testing.assert_allclose(end[:, 2], after, rtol=1e-12)
    np.testing.assert_allclose(end[:, 0], at_contact + 0.01 * after, rtol=1e-12)
    np.testing.assert_array_equal(end[:, [1, 3]], [[128, 0], [128, 0]])


def test_equal_masses_move_alike_whatever_the_mass():
    start = simulate_collisions(1, rng=np.random.default_rng(0))[0]
    np.testing.assert_array_equal(advance_balls(start, 5.0, masses=(3, 3)), advance_balls(start, 5.0))


def test_a_glancing_hit_of_unequal_masses_keeps_momentum_energy_and_the_tangent():
    start, masses = np.array([[80.0, 100.0, 120.0, 40.0], [160.0, 120.0, -80.0, 10.0]]), np.array([1.0, 4.0])
    end = advance_balls(start, 0.4, masses=masses)
    np.testing.assert_allclose(masses @ end[:, 2:], masses @ start[:, 2:], rtol=1e-12)
    assert kinetic_energy(end, masses) == pytest.approx(kinetic_energy(start, masses), rel=1e-13)
    change = end[:, 2:] - start[:, 2:]
    np.testing.assert_allclose(change[0], -4 * change[1], rtol=1e-12)
    tangent = np.array([-change[0, 1], change[0, 0]]) / np.linalg.norm(change[0])
    np.testing.assert_allclose(end[:, 2:] @ tangent, start[:, 2:] @ tangent, rtol=1e-12)
    assert np.linalg.norm(change[0]) > 1


@pytest.mark.parametrize(("ratio", "n_events"), [(1, 3), (100, 31), (10_000, 314)])
def test_a_heavy_ball_a_light_ball_and_a_wall_count_the_digits_of_pi(ratio, n_events):
    # Galperin, "Playing pool with π" (2003): all hits, of balls and wall in turn, the balls' first.
    start = np.array([[100.0, 128.0, 0.0, 0.0], [200.0, 128.0, -100.0, 0.0]])
    counted = contacts_per_interval(np.stack([start, start]), fps=1 / 50, size=10_000.0, masses=(1, ratio))
    assert counted == [(n_events + 1) // 2]


def test_three_balls_on_one_line_are_three_points_that_pass_through_each_other():
    start = np.array([[50.0, 128.0, 131.0, 0.0], [120.0, 128.0, 17.0, 0.0], [190.0, 128.0, -83.0, 0.0]])
    states = np.stack([advance_balls(start, s) for s in np.arange(301) / 30])
    widths = RADIUS * np.array([1, 3, 5])
    fine = np.linspace(0, 10, 200_001)[:, None]
    points = triangle_wave(start[:, 0] - widths + fine * start[:, 2], 0, SIZE - 6 * RADIUS)
    expected = np.sort(points[::2000], axis=1) + widths  # every tenth of a second
    np.testing.assert_allclose(states[::3, :, 0], expected, rtol=0, atol=1e-9)
    crossings = sum(np.count_nonzero(np.diff(points[:, a] > points[:, b])) for a, b in PAIRS)
    assert contacts_per_interval(states).sum() == crossings > 10


def test_the_flow_of_three_unequal_balls_runs_back_to_the_start():
    reverse, n_contacts = np.array([1, 1, -1, -1]), 0
    for start in videos(20, n_frames=1, masses=THREE)[:, 0]:
        end = advance_balls(start, 2.0, masses=THREE)
        back = advance_balls(end * reverse, 2.0, masses=THREE) * reverse
        np.testing.assert_allclose(back, start, rtol=0, atol=1e-8)
        n_contacts += contacts_per_interval(np.stack([start, end]), fps=1 / 2, masses=THREE).sum()
    assert n_contacts > 20


def test_three_unequal_balls_keep_their_energy_stay_inside_and_never_overlap():
    states = videos(20, masses=THREE)
    assert states.shape == (20, 150, 3, 4)
    energy = kinetic_energy(states, THREE)
    np.testing.assert_allclose(energy, np.broadcast_to(energy[:, :1], energy.shape), rtol=1e-12)
    position = states[..., :2]
    assert position.min() >= RADIUS and position.max() <= SIZE - RADIUS
    for a, b in PAIRS:
        assert np.linalg.norm(position[:, :, a] - position[:, :, b], axis=-1).min() >= 2 * RADIUS - 1e-9


def test_kinetic_energy_weighs_each_ball_with_its_mass():
    states = np.array([[0, 0, 3.0, 4.0], [0, 0, 0, 2.0], [0, 0, 1.0, 0]])
    assert kinetic_energy(states, (2, 10, 0.5)) == 0.5 * (2 * 25 + 10 * 4 + 0.5)


@pytest.mark.parametrize("speeds", [(300.0, 500.0), (0.0, 10.0), (70.0, 70.0)])
def test_speeds_lie_in_the_asked_range(speeds):
    starts = videos(100, n_frames=1, speeds=speeds, masses=(1, 1, 1))[:, 0]
    speed = np.linalg.norm(starts[..., 2:], axis=-1)
    low, high = speeds
    assert speed.min() >= low - 1e-9 and speed.max() <= high + 1e-9
    assert abs(speed.mean() - (low + high) / 2) <= 6 * (high - low) / np.sqrt(12 * speed.size) + 1e-9


def test_a_drawn_ball_has_the_true_centre_and_area():
    for x, y in ((100.0, 90.0), (100.5, 90.25), (63.37, 41.81)):
        picture = render_frames(np.array([[[x, y, 0, 0], [200, 200, 0, 0]]]))[0]
        weight = picture[:128, :150, 1] / 255  # the green channel holds the cyan ball alone
        rows, columns = np.mgrid[:128, :150] + 0.5
        centroid = [(weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()]
        np.testing.assert_allclose(centroid, [x, y], rtol=0, atol=0.05)
        # OpenCV draws its smooth rim outside the circle, so the disc of equal area is 0.6 px wider.
        assert np.sqrt(weight.sum() / np.pi) == pytest.approx(RADIUS + 0.6, abs=0.05)


def test_balls_are_cyan_and_red_on_black():
    picture = render_frames(np.array([[[60, 60, 0, 0], [180, 150, 0, 0]]]))[0]
    assert picture.shape == (256, 256, 3) and picture.dtype == np.uint8
    assert picture[60, 60].tolist() == [0, 255, 255]
    assert picture[150, 180].tolist() == [255, 0, 0]
    assert picture[60, 180].tolist() == picture[0, 0].tolist() == [0, 0, 0]


def test_a_third_ball_is_green_and_a_fourth_has_no_colour():
    state = np.array([[60, 60, 0, 0], [180, 150, 0, 0], [60, 200, 0, 0], [180, 40, 0, 0]])
    picture = render_frames(state[None, :3])[0]
    assert picture[200, 60].tolist() == [0, 255, 0]
    np.testing.assert_array_equal(picture[:128], render_frames(state[None, :2])[0, :128])
    with pytest.raises(ValueError, match="colours for 3 balls, got 4"):
        render_frames(state[None])


def test_moving_the_balls_by_a_pixel_moves_the_picture_by_a_pixel():
    states = np.array([[[60.3, 60.8, 0, 0], [180.1, 150.6, 0, 0]]])
    moved = states + np.array([1, 0, 0, 0])
    np.testing.assert_array_equal(render_frames(moved), np.roll(render_frames(states), 1, axis=2))


def test_edges_are_smooth():
    picture = render_frames(np.array([[[60.3, 60.8, 0, 0], [180.1, 150.6, 0, 0]]]))[0]
    assert len(np.unique(picture[..., 0])) > 10


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ([[100, 100, 0, 0], [130, 100, 0, 0]], "balls overlap: centres 30 px apart"),
        ([[10, 100, 0, 0], [130, 100, 0, 0]], "between 20.0 and 236.0"),
        ([[100, 100, 0, 0], [130, 250, 0, 0]], "between 20.0 and 236.0"),
        ([[np.nan, 100, 0, 0], [130, 100, 0, 0]], "finite"),
        ([[60, 100, 0, np.inf], [130, 100, 0, 0]], "finite"),
        ([[100, 100, 0, 0], [200, 100, 0, 0], [200, 135, 0, 0]], "balls overlap: centres 35 px apart"),
        ([[100, 100, 0, 0], [200, 100, 0, 0], [125, 100, 0, 0]], "balls overlap: centres 25 px apart"),
        ([[60, 100, 0, 0]], r"shape \(n_balls, 4\).*got \(1, 4\)"),
        (np.zeros((2, 3)), r"shape \(n_balls, 4\).*got \(2, 3\)"),
        (np.zeros(4), r"shape \(n_balls, 4\).*got \(4,\)"),
    ],
)
def test_an_impossible_state_is_refused(state, words):
    with pytest.raises(ValueError, match=words):
        advance_balls(state, 1.0)


@pytest.mark.parametrize(
    ("masses", "words"),
    [
        ((1, 1, 1), "one a ball"),
        ((1,), "one a ball"),
        (1.0, "one a ball"),
        ((1, 0), "finite and positive"),
        ((1, -2), "finite and positive"),
        ((1, np.nan), "finite and positive"),
        ((np.inf, 1), "finite and positive"),
    ],
)
def test_impossible_masses_are_refused(masses, words):
    for refused in (advance_balls, contacts_per_interval, kinetic_energy):
        states, more = (APART, [1.0]) if refused is advance_balls else (np.array([APART, APART]), [])
        with pytest.raises(ValueError, match=words):
            refused(states, *more, masses=masses)


@pytest.mark.parametrize("seconds", [-0.1, np.nan, np.inf])
def test_an_impossible_time_is_refused(seconds):
    with pytest.raises(ValueError, match="seconds must be finite and not negative"):
        advance_balls(APART, seconds)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rng": 0}, "numpy.random.Generator, got int"),
        ({"rng": np.random.RandomState(0)}, "got .*RandomState"),
        ({"starts": "corner"}, "'corner'"),
        ({"n_frames": 0}, "n_frames"),
        ({"n_frames": -3}, "n_frames"),
        ({"fps": 0}, "fps"),
        ({"size": 70.0}, "too small"),
        ({"size": 70.0, "starts": "fixed"}, "between 20.0 and 50.0"),
        ({"size": 90.0, "masses": (1,) * 5}, "no room for 5 balls of radius 20.0 in 90.0 px"),
        ({"starts": "fixed", "masses": (1, 1, 1)}, "for two balls, got 3 masses"),
        ({"masses": (1,)}, "one a ball"),
        ({"masses": 2.0}, "one a ball"),
        ({"masses": None}, "one a ball"),
        ({"masses": (1, -1), "n_frames": 1}, "finite and positive"),
        ({"speeds": (50, 40)}, "0 <= low <= high"),
        ({"speeds": (-1, 40)}, "0 <= low <= high"),
        ({"speeds": (0, np.inf)}, "0 <= low <= high"),
        ({"speeds": (np.nan, 40)}, "0 <= low <= high"),
        ({"speeds": 40}, "0 <= low <= high"),
        ({"speeds": (1, 2, 3)}, "0 <= low <= high"),
    ],
)
def test_an_impossible_video_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        simulate_collisions(**{"rng": np.random.default_rng(0), "n_frames": 5} | options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_frames": True}, "whole number, 1 or more, got True"),
        ({"fps": "30"}, "fps must be finite and positive, a number from 1e-50 to 1e50, got '30'"),
        ({"rng": random.Random(0)}, "got random.Random: use numpy.random.default_rng"),
        ({"masses": np.ma.masked_array([1.0, 9.0], [False, True])}, "must be real numbers"),
        ({"masses": (1,) * 40}, "no room for 40 balls"),
    ],
)
def test_values_of_another_kind_are_shown_as_they_are(options, words):
    with pytest.raises(ValueError, match=words):
        simulate_collisions(**{"rng": np.random.default_rng(0), "n_frames": 5} | options)


def test_a_row_of_equal_balls_is_one_of_points_that_pass_through_each_other():
    n, seconds = 4, 700.0
    x, v = np.array([30.0, 90.0, 150.0, 210.0]), np.array([71.3, -53.1, 97.7, -31.9])
    row = np.column_stack([x, np.full(n, 128.0), v, np.zeros(n)])
    shift, length = 2 * RADIUS * np.arange(n) + RADIUS, SIZE - 2 * RADIUS * n
    points = np.sort(triangle_wave(x - shift + v * seconds, 0, length))
    moved = advance_balls(row, seconds)
    np.testing.assert_allclose(moved[:, 0], points + shift, rtol=0, atol=1e-8)
    back = advance_balls(moved * [1, 1, -1, -1], seconds)  # after 3,564 contacts each way
    np.testing.assert_allclose(back * [1, 1, -1, -1], row, rtol=0, atol=1e-8)
