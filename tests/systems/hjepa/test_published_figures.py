"""Figures from `results.json` show the numbers that it holds, and say of them what is so."""

import json

import matplotlib
import numpy as np
import pytest
from helpers import ROOT
from PIL import Image

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from hjepa_utils import plotting
from hjepa_utils.systems.hjepa import published_figures as published
from hjepa_utils.systems.hjepa import result_figures as drawn

SAVED = json.loads((ROOT / "figures" / "results.json").read_text())
RESULTS = SAVED["results"]
STEPS, CONTROLS, STATE = (RESULTS[name] for name in ("07_symplecticity", "08_controls", "09_true_state"))


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def rows(figure, panel):
    """{label: (mean, interval, colour)} of a panel of dots; the leftmost ones bear the labels of all."""
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    bars, dots = panel.lines[0 : 2 * len(labels) : 2], panel.lines[1 : 2 * len(labels) : 2]
    return {
        label: (dot.get_xdata()[0], list(bar.get_xdata()), dot.get_color())
        for label, bar, dot in zip(labels, bars, dots, strict=True)
    }


@pytest.mark.parametrize(
    ("draw", "results", "of_panels"),
    [
        (drawn.controls, CONTROLS, CONTROLS["controls"].values()),
        (drawn.true_energy, CONTROLS, [CONTROLS["true_energy"][key] for key in ("position", "velocity")]),
        (drawn.true_state, STATE, STATE["places"].values()),
        (drawn.steps_trained, STEPS, [None, STEPS["arms"]["drift"]]),
    ],
    ids=["controls", "true energy", "true state", "steps"],
)
def test_means_and_intervals_are_the_saved_ones_in_the_models_colours(draw, results, of_panels):
    figure = draw(results)
    for panel, of_arms in zip(figure.axes, of_panels, strict=False):
        if of_arms is None:
            continue
        shown = rows(figure, panel)
        assert set(of_arms) - set(shown) <= {"linear extrapolation"}
        for arm, (mean, interval, colour) in shown.items():
            assert mean == of_arms[arm]["mean"] and interval == of_arms[arm]["interval"]
            assert colour == plotting.colour(arm)


def test_steps_and_limits_are_shown_as_paired_differences():
    figure = drawn.steps_trained(STEPS)
    shown = rows(figure, figure.axes[0])
    of_arms = STEPS["arms"]["mse"]
    for arm in set(of_arms) - {"HNN"}:
        assert shown[arm][0] == of_arms[arm]["difference"]["mean"]
        assert shown[arm][1] == of_arms[arm]["difference"]["interval"]
    figure = drawn.limits(STATE)
    shown = rows(figure, figure.axes[0])
    saved = STATE["limits"]["HNN, width 256, Fourier features"]["difference"]
    assert shown["Fourier features"][:2] == (saved["mean"], saved["interval"])
    assert shown["HNN, width 512"][0] == STATE["limits"]["HNN"]["difference"]["mean"]


def test_the_heat_map_and_the_partition_hold_their_numbers():
    heat = drawn.outside(CONTROLS).axes[0].images[0].get_array()
    for column, of_arms in enumerate(CONTROLS["outside"].values()):
        less = [
            of["mean"] - of_arms["persistence"]["mean"] for a, of in of_arms.items() if a != "persistence"
        ]
        np.testing.assert_allclose(heat[:, column], less, atol=1e-6)
    points = [line for line in drawn.partition(CONTROLS).axes[0].lines if line.get_marker() == "o"]
    at = {(line.get_xdata()[0], line.get_ydata()[0]) for line in points}
    defects = CONTROLS["isotropy_defect"]
    assert at == {(np.mean(defects[a]), of["mean"]) for a, of in CONTROLS["partition"].items()}


def test_the_probe_shows_the_saved_scores():
    (panel,) = drawn.probe(RESULTS["06_pretrain_embedded_encoder"]).axes
    lines = {line.get_label(): line for line in panel.lines}
    scores = RESULTS["06_pretrain_embedded_encoder"]["probe_r2"]
    assert list(lines["PCA of frames"].get_xdata()[:2]) == [
        scores["PCA of frames"][name] for name in ("position", "velocity")
    ]


def test_what_was_found_follows_the_numbers():
    errors = {"HNN": {"mean": 1.0, "n_groups": 10, "interval": [0.9, 1.1]}}
    for arm, low, high in (("HNN, RK4", -0.2, -0.1), ("HNN, Tao", -0.2, 0.1), ("HNN, Euler", 0.1, 0.2)):
        difference = {"mean": (low + high) / 2, "interval": [low, high], "n_groups": 10}
        errors[arm] = {"mean": 1 + difference["mean"], "n_groups": 10, "difference": difference}
    found = published.steps_found({"arms": {"mse": errors, "drift": errors}})
    assert found.startswith("1 of 3 ") and found.endswith("HNN, RK4 keeps H best")
    better = {"controls": {"15 steps": {"HNN": {"mean": 0.5}, "training mean": {"mean": 1.0}}}}
    assert published.controls_found(better) == (
        "The HNN is best over 15 steps; the HNN errs less than the training mean"
    )


def test_redrawing_writes_what_the_numbers_are_there_for(tmp_path):
    part = {"results": {"09_true_state": STATE}}
    assert published.redraw(part, tmp_path) == ["figure_true_state", "figure_limits"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure_limits.png", "figure_true_state.png"]
    with Image.open(tmp_path / "figure_limits.png") as picture:
        assert picture.width > 800


def test_every_figure_is_published():
    assert all((ROOT / "figures" / f"{name}.png").is_file() for name in published.FIGURES)
