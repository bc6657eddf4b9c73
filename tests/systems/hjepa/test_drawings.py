"""The paper's figures show the numbers they are given."""

import json

import matplotlib
import numpy as np
import pytest
from helpers import ROOT

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from hjepa_utils import contacts_per_interval, plotting, simulate_collisions
from hjepa_utils.systems.hjepa import drawings

PUBLISHED = json.loads((ROOT / "figures" / "results.json").read_text())["results"]["04_ablations"]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_figure_7_has_every_arm_at_its_published_mean_and_interval():
    error, drift = drawings.plot_ablations(PUBLISHED).axes
    assert [label.get_text() for label in error.get_yticklabels()] == list(PUBLISHED["arms"])
    for panel, key in ((error, "mse"), (drift, "drift_over_spread")):
        for row, (arm, of_arm) in enumerate(PUBLISHED["arms"].items()):
            _, interval, mean = panel.lines[3 * row : 3 * row + 3]
            assert list(interval.get_xdata()) == of_arm[key]["interval"]
            assert list(mean.get_xdata()) == [of_arm[key]["mean"]] and list(mean.get_ydata()) == [row]
            assert mean.get_color() == plotting.colour(arm)
    floors = {line.get_xdata()[0] for line in error.lines[3 * len(PUBLISHED["arms"]) :]}
    assert floors == set(PUBLISHED["floors"].values())


def test_figure_7_says_who_is_lowest():
    assert drawings.ablations_found(PUBLISHED) == "Lowest error: MLP. Lowest drift of H: HNN"


def test_figure_2_crosses_the_contacts_between_the_balls():
    states = np.stack([simulate_collisions(100, rng=np.random.default_rng([0, video])) for video in range(8)])
    contacts = np.stack([contacts_per_interval(video) for video in states])
    assert contacts.sum() > 0
    panels = drawings.plot_trajectories(states, contacts).axes
    for panel, of_video in zip(panels, contacts, strict=True):
        (crosses,) = (line for line in panel.lines if line.get_marker() == "x")
        assert len(crosses.get_xdata()) == (of_video > 0).sum()
        assert ("no contact" in panel.get_title()) == (of_video.sum() == 0)
