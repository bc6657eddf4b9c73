"""Pushed and slowed balls against closed forms and the exact flights without a push."""

import numpy as np
import pytest

from hjepa_utils import advance_balls
from hjepa_utils.simulators.pushed import push_balls

FAR = np.array([[60.0, 60.0, 30.0, -20.0], [190.0, 180.0, -10.0, 15.0]])


def closed_form(state, seconds, acceleration, drag):
    """v = a/γ + (v₀ - a/γ) e^{-γ t} and its integral, for one held acceleration."""
    x, v = state[:, :2], state[:, 2:]
    last = acceleration / drag
    decayed = np.exp(-drag * seconds)
    return np.hstack(
        [
            x + last * seconds + (v - last) * (1 - decayed) / drag,
            last + (v - last) * decayed,
        ]
    )


@pytest.mark.parametrize("drag", [0.3, 2.0, 1e-7])
def test_between_contacts_a_push_and_drag_are_exact(drag):
    forces = np.array([[40.0, 25.0], [-12.0, -30.0]])
    masses = (1.0, 2.0)
    moved = push_balls(FAR, 0.7, forces, drag=drag, masses=masses)
    accelerations = forces / np.array(masses)[:, None]
    if drag > 1e-3:
        expected = closed_form(FAR, 0.7, accelerations, drag)
    else:  # the closed form cancels there; to first order in γ nothing is left of it
        v = FAR[:, 2:] + 0.7 * accelerations
        expected = np.hstack([FAR[:, :2] + 0.7 * FAR[:, 2:] + 0.245 * accelerations, v])
    np.testing.assert_allclose(moved, expected, rtol=1e-12 if drag > 1e-3 else 1e-6)


def test_a_push_without_drag_is_a_parabola():
    forces = np.array([[0.0, 50.0], [0.0, 0.0]])
    moved = push_balls(FAR, 0.5, forces)
    np.testing.assert_allclose(moved[0], [75.0, 60 - 10 + 6.25, 30.0, 5.0], rtol=1e-12)
    np.testing.assert_allclose(moved[1], [185.0, 187.5, -10.0, 15.0], rtol=1e-12)


def test_without_push_and_drag_it_is_the_exact_flight():
    state = np.array([[50.0, 128.0, 150.0, 10.0], [200.0, 130.0, -120.0, 0.0]])
    assert np.array_equal(push_balls(state, 2.0, np.zeros((2, 2))), advance_balls(state, 2.0))


def test_contacts_are_met_as_the_pieces_get_shorter():
    """Through walls and a ball, against pieces six times shorter: each of the few contacts on the way errs
    by what push and drag change within one piece, 120/160 px/s, for the rest of the time."""
    state = np.array([[50.0, 128.0, 150.0, 10.0], [200.0, 130.0, -120.0, 0.0]])
    forces = np.array([[120.0, -60.0], [0.0, 0.0]])
    ours = push_balls(state, 0.6, forces, drag=0.3)
    fine = state
    for _ in range(600):
        fine = push_balls(fine, 0.001, forces, drag=0.3)
    assert np.sign(ours[0, 2]) == -1  # they met
    apart = np.abs(ours - fine)
    assert apart[:, :2].max() < 0.5
    assert apart[:, 2:].max() < 1.5
    assert apart.max() > 0


def test_drag_takes_energy_at_its_rate_through_all_contacts():
    """Elastic contacts keep Σ v², so it falls by e^{-2 γ t} whatever is met."""
    state = np.array([[50.0, 128.0, 150.0, 90.0], [200.0, 130.0, -120.0, 40.0]])
    moved = push_balls(state, 3.0, np.zeros((2, 2)), drag=0.3)
    before, after = (np.square(s[:, 2:]).sum() for s in (state, moved))
    np.testing.assert_allclose(after / before, np.exp(-2 * 0.3 * 3.0), rtol=1e-9)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"forces": np.zeros((3, 2))}, "one \\(x, y\\) a ball"),
        ({"forces": np.full((2, 2), np.nan)}, "finite"),
        ({"drag": -0.1}, "drag must be finite and not negative, a number, got -0.1"),
        ({"seconds": np.inf}, "seconds must be finite"),
        ({"state": FAR[:, :3]}, "a state has shape"),
    ],
)
def test_bad_input_is_one_sentence(change, words):
    call = {"state": FAR, "seconds": 0.1, "forces": np.ones((2, 2))} | change
    with pytest.raises(ValueError, match=words):
        push_balls(call.pop("state"), call.pop("seconds"), call.pop("forces"), **call)
