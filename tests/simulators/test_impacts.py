"""Contacts of one instant against symmetry and conservation; contacts without end; odd numbers."""

from itertools import permutations

import numpy as np
import pytest

from hjepa_utils import (
    advance_balls,
    contact_masks,
    contacts_per_interval,
    kinetic_energy,
    render_frames,
    simulate_collisions,
)

APART = [[64.0, 128.0, 90.0, 10.0], [192.0, 128.0, -60.0, -20.0]]
FAN = np.array([[128.0, 60, 0, 100], [108, 128, 0, 0], [148, 128, 0, 0]])  # one ball onto two
# States at the instant in which ball 0 meets two others, or a wall or two and ball 1.
AT_ONCE = {
    "one onto two": [[128, 100, 30, 120], [104, 132, -7, 5], [152, 132, 2, -9]],
    "a ball and a wall": [[20, 100, -60, 10], [52, 124, -90, -40], [200, 200, 10, 0]],
    "a ball and a corner": [[20, 20, -60, -30], [52, 44, -90, -70], [200, 200, 10, 0]],
}


@pytest.fixture(params=AT_ONCE)
def at_once(request):
    state = np.array(AT_ONCE[request.param], dtype=float)
    state[:, :2] -= 0.1 * state[:, 2:]
    return state


def test_a_ball_onto_two_is_mirrored_and_follows_the_closed_form():
    # The two leave along the normals, at 30° to the path: w = 2 v cos α / (1 + 2 cos² α) = 40 √3.
    end = advance_balls(FAN, 0.5)
    expected = [[0, -20], [-20 * 3**0.5, 60], [20 * 3**0.5, 60]]
    np.testing.assert_allclose(end[:, 2:], expected, rtol=1e-12, atol=1e-10)
    assert contacts_per_interval(np.stack([FAN, end]), fps=2) == [2]


@pytest.mark.parametrize("masses", [(1, 1, 1), (1.0, 2.5, 0.4)])
def test_the_order_of_the_rows_and_a_mirror_do_not_change_contacts_of_one_instant(at_once, masses):
    masses = np.array(masses)
    end = advance_balls(at_once, 0.15, masses=masses)
    assert np.abs(end[:, 2:] - at_once[:, 2:]).max() > 1
    for order in map(list, permutations(range(3))):
        other = advance_balls(at_once[order], 0.15, masses=masses[order])
        np.testing.assert_allclose(other, end[order], rtol=0, atol=1e-9)
    across, turn = np.array([-1, 1, -1, 1]), [1, 0, 3, 2]
    mirrored = advance_balls(at_once * across + [256, 0, 0, 0], 0.15, masses=masses)
    np.testing.assert_allclose(mirrored, end * across + [256, 0, 0, 0], rtol=0, atol=1e-9)
    turned = advance_balls(at_once[:, turn], 0.15, masses=masses)
    np.testing.assert_allclose(turned, end[:, turn], rtol=0, atol=1e-9)


@pytest.mark.parametrize("masses", [(1, 1, 1), (1.0, 2.5, 0.4), (1e6, 1.0, 1e-6)])
def test_contacts_of_one_instant_keep_energy_and_momentum(masses):
    masses, start = np.array(masses), np.array(AT_ONCE["one onto two"], dtype=float)
    start[:, :2] -= 0.1 * start[:, 2:]
    end = advance_balls(start, 0.1 + 1e-6, masses=masses)
    assert np.abs(end[:, 2:] - start[:, 2:]).max() > 1
    np.testing.assert_allclose(masses @ end[:, 2:], masses @ start[:, 2:], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(kinetic_energy(end, masses), kinetic_energy(start, masses), rtol=1e-12)


def test_a_cradle_passes_the_push_on_and_two_pushes_pass_each_other():
    row = [[68.0, 128, 100, 0], [128, 128, 0, 0], [168, 128, 0, 0]]
    np.testing.assert_allclose(advance_balls(row, 0.3)[:, 2], [0, 0, 100], rtol=0, atol=1e-12)
    both = [[88.0 - 13.1, 128, 131, 0], [128 - 1.7, 128, 17, 0], [168 + 8.3, 128, -83, 0]]
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):  # all three touch after 0.1 s
        end = advance_balls([both[k] for k in order], 0.2)
        np.testing.assert_allclose(end[np.argsort(order), 2], [-83, 17, 131], rtol=0, atol=1e-9)


JAMMED = [[20, 20, 10, 10], [60, 20, -10, 5], [20, 60, 3, 4], [60, 60, 7, -2]]
LONG = [[100.0, 128.0, 0.0, 0.0], [200.0, 128.0, -100.0, 0.0]]


@pytest.mark.parametrize(
    ("state", "seconds", "options", "words"),
    [
        (APART, 1e9, {}, r"more than 10,000 contacts in 1e\+09 s, last between .*ask for a shorter time"),
        (LONG, 50.0, {"masses": (1, 1e14), "size": 1e4}, "more than 10,000 contacts in 50 s"),
        (JAMMED[:2], 1.0, {"size": 80.0}, "in one instant, last between .*: give the balls room"),
        (JAMMED, 1.0, {"size": 80.0}, "in one instant, last between .*: give the balls room"),
        (JAMMED, 1.0, {"size": 80.0, "masses": (1, 2, 3.3, 4)}, "in one instant"),
        ([[64, 128, 1e200, 10], APART[1]], 1.0, {}, "finite, below 1e50"),
        (APART, 1.0, {"masses": (1, 1e308)}, "masses must be finite and positive, between"),
        (APART, 1e300, {}, "seconds must be finite"),
        (APART, "1", {}, "seconds must be finite.*got '1'"),
        (APART, 1.0, {"radius": 0}, "radius must be finite and positive"),
        (APART, 1.0, {"size": np.inf}, "size must be finite and positive"),
        (APART, 1.0, {"size": 30}, "size must lie between 2 and 1e9 times the radius"),
        ([[64, 128, 1j, 10], APART[1]], 1.0, {}, "a state must be real numbers"),
        ([[64, 128], [1]], 1.0, {}, "a state must be real numbers"),
    ],
)
def test_a_flow_without_end_is_refused(state, seconds, options, words):
    with pytest.raises(ValueError, match=words):
        advance_balls(state, seconds, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"speeds": (1e20, 1e20)}, "contacts in one instant.*lower their speeds"),
        ({"speeds": (1e9, 1e9)}, "more than 10,000 contacts in 0.0333 s, last between .*: lower the speeds"),
        ({"speeds": ("a", "b")}, "speeds must be real numbers"),
        ({"masses": [[1], [1, 2]]}, "masses, one a ball, must be real numbers"),
        ({"fps": 1e-300}, "fps must be finite and positive"),
        ({"fps": np.nan}, "fps must be finite and positive"),
        ({"fps": np.inf}, "fps must be finite and positive"),
        ({"size": 1e300}, "size must be finite and positive"),
        ({"size": np.nan}, "size must be finite and positive"),
        ({"size": 10**400}, "size must be finite and positive"),
        ({"size": 1e12}, "1e9 times the radius"),
        ({"radius": -5.0}, "radius must be finite and positive"),
        ({"radius": 0}, "radius must be finite and positive"),
        ({"n_frames": 2.5}, "whole number"),
        ({"n_frames": "5"}, "whole number"),
        ({"n_frames": 1, "starts": "fixed", "size": 70.0}, "between 20.0 and 50.0"),
    ],
)
def test_a_video_without_end_or_with_odd_numbers_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        simulate_collisions(**{"rng": np.random.default_rng(0), "n_frames": 3} | options)


def test_numpy_numbers_are_numbers():
    numbers = {"n_frames": np.int64(5), "fps": np.int32(30), "size": np.float32(256), "radius": np.int16(20)}
    states = simulate_collisions(rng=np.random.default_rng(0), **numbers)
    np.testing.assert_array_equal(states, simulate_collisions(5, rng=np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("states", "options", "words"),
    [
        ([APART, APART], {"size": 200.0}, "between 20.0 and 180.0"),
        ([APART, [[100, 100, 0, 0], [130, 100, 0, 0]]], {}, "balls overlap: centres 30 px apart"),
        ([APART, np.full((2, 4), np.nan)], {}, "finite"),
        (APART, {}, r"\(n_frames, n_balls, 4\).*got \(2, 4\)"),
        (np.zeros((3, 2, 3)), {}, r"got \(3, 2, 3\)"),
        (np.zeros((0, 2, 4)), {}, r"got \(0, 2, 4\)"),
        ([APART, APART], {"fps": 0}, "fps"),
        ([APART, APART], {"radius": -1}, "radius"),
    ],
)
def test_contacts_are_counted_of_possible_states_only(states, options, words):
    with pytest.raises(ValueError, match=words):
        contacts_per_interval(states, **options)


def test_one_frame_has_no_interval():
    counted = contacts_per_interval([APART])
    assert counted.shape == (0,) and counted.dtype == int


@pytest.mark.parametrize(
    ("states", "options", "words"),
    [
        (np.full((1, 2, 4), np.nan), {}, "finite and within 1e6 px.*nan"),
        (np.full((1, 2, 4), 1e12), {}, "finite and within 1e6 px.*1000000000000"),
        ([APART], {"radius": 0}, "radius"),
        ([APART], {"radius": -3.0}, "radius"),
        ([APART], {"size": 256.5}, "whole number of pixels, got 256.5"),
        (APART, {}, r"got \(2, 4\)"),
    ],
)
def test_what_cannot_be_drawn_is_refused(states, options, words):
    with pytest.raises(ValueError, match=words):
        render_frames(states, **options)


def test_a_whole_size_may_be_a_float_and_a_ball_outside_leaves_the_picture_black():
    np.testing.assert_array_equal(render_frames([APART], size=256.0), render_frames([APART]))
    assert not render_frames(np.full((1, 2, 4), -1e5)).any()


def test_the_energy_of_whole_numbers_does_not_wrap_and_shapes_are_checked():
    assert kinetic_energy(np.full((2, 4), 100, np.uint8)) == 0.5 * 4 * 100**2
    with pytest.raises(ValueError, match=r"got \(4,\)"):
        kinetic_energy(np.zeros(4))
    with pytest.raises(ValueError, match="one a ball"):
        kinetic_energy(np.zeros((5, 2, 4)), masses=(1, 1, 1))


@pytest.mark.parametrize(
    ("states", "options", "words"),
    [
        ([APART], {}, r"got \(1, 2, 4\)"),
        (np.full((1, 3, 2, 4), np.nan), {}, "finite"),
        ([[APART, APART]], {"margin": np.nan}, "margin"),
        ([[APART, APART]], {"radius": 0}, "radius"),
    ],
)
def test_masks_of_impossible_windows_are_refused(states, options, words):
    with pytest.raises(ValueError, match=words):
        contact_masks(states, **options)
