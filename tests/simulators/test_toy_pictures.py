"""The pictures of Toy Physics against geometry and a plain formula for one pixel."""

import colorsys

import numpy as np
import pytest

from hjepa_utils import render_toy, simulate_toy
from hjepa_utils.simulators.toy_physics import toy_places, toy_system
from hjepa_utils.simulators.toy_pictures import from_pixels, hues, to_pixels
from hjepa_utils.simulators.toy_systems import SYSTEMS

GREY = np.array([81, 88, 93])


def rng(seed=0):
    return np.random.default_rng(seed)


def drawn(name, n=4, n_frames=3):
    states = simulate_toy(name, n, n_frames, rng=rng(3))
    return states, render_toy(name, states)


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_discs_are_where_the_bodies_are(name):
    states, pictures = drawn(name)
    assert pictures.shape == (4, 3, 3, 32, 32) and pictures.dtype == np.uint8
    places, rows = to_pixels(name, toy_places(name, states)), np.arange(32)
    for body, colour in enumerate(255 * hues(len(toy_system(name).masses))):
        wide = ((pictures - colour[:, None, None]) ** 2).sum(axis=2) < 60**2  # the inner of the disc
        middle = [(wide * axis).sum((-1, -2)) / wide.sum((-1, -2)) for axis in (rows, rows[:, None])]
        np.testing.assert_allclose(np.stack(middle, -1), places[..., body, :], atol=0.5)


def test_one_pixel_is_what_the_formula_says():
    states = np.array([[[0.7, 0.0]]])  # a spring at y = 0.7: 0.5 + 0.7 / 2.79788 of the height
    reach, radius = 1 + np.sqrt(0.5 / np.pi), np.sqrt(0.5 / np.pi)
    row, column = 20, 18
    away = np.hypot(column / 31 - 0.5, row / 31 - (0.5 + 0.7 / (2 * reach)))
    cover = 1 / (1 + np.exp(80 * (away - radius / (2 * reach))))
    expected = cover * np.array([1, 0, 0]) + (1 - cover) * np.array([0.321, 0.349, 0.368])
    assert 0.05 < cover < 0.95
    got = render_toy("mass_spring", states)[0, 0, :, row, column]
    np.testing.assert_array_equal(got, np.floor(255 * expected))


def test_a_hanging_pendulum_is_at_the_top_as_published():
    picture = render_toy("pendulum", np.zeros((1, 1, 2)))[0, 0]
    np.testing.assert_array_equal(picture[:, -1, 0], GREY)
    red = (picture[0].astype(float) - 81) / 174
    np.testing.assert_allclose((red.sum(1) * np.arange(32)).sum() / red.sum(), 4.4, atol=0.1)


def test_the_first_body_lies_on_top():
    q = np.array([0.0, 0.0, 0.4, 0.0])  # two discs of radius 0.56, 0.4 apart
    picture = render_toy("two_body", np.concatenate([q, np.zeros(4)])[None, None])[0, 0]
    between = np.round(to_pixels("two_body", np.array([0.2, 0.0]))).astype(int)
    np.testing.assert_allclose(picture[:, between[1], between[0]], [255, 0, 0], atol=6)


def test_hues_are_those_of_the_colour_circle():
    for n in (1, 2, 3, 6, 7):
        np.testing.assert_allclose(hues(n), [colorsys.hsv_to_rgb(k / n, 1, 1) for k in range(n)], atol=1e-12)


def test_colours_stay_within_a_trajectory_and_change_between_them():
    states = simulate_toy("two_body", 40, 2, rng=rng())
    pictures = render_toy("two_body", states, n_colours=6, rng=rng(1))
    shown = [{tuple(p) for p in frame.reshape(3, -1).T if set(p) <= {0, 254, 255}}
             for frame in pictures[:, 0]]  # fmt: skip
    again = [{tuple(p) for p in frame.reshape(3, -1).T if set(p) <= {0, 254, 255}}
             for frame in pictures[:, 1]]  # fmt: skip
    assert [len(colours) for colours in shown] == [2] * 40 and shown == again
    assert len({frozenset(colours) for colours in shown}) > 8  # of 15 pairs


def test_pixels_and_places_are_each_others_inverse():
    places = rng().uniform(-2, 2, (5, 2))
    np.testing.assert_allclose(from_pixels("two_body", to_pixels("two_body", places)), places)


@pytest.mark.parametrize(("shape", "options", "words"), [
    ((2, 8), {}, "states to draw are"),
    ((1, 2, 4), {}, "states of two_body are"),
    ((1, 2, 8), {"n_colours": 1}, "two_body needs 2 colours or more, got 1"),
    ((1, 2, 8), {"rng": 3}, "rng must be a numpy.random.Generator"),
])  # fmt: skip
def test_bad_input_is_one_sentence(shape, options, words):
    with pytest.raises(ValueError, match=words):
        render_toy("two_body", np.ones(shape), **options)
