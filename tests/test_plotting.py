"""Every model has one look, and the shared figures draw the numbers they are given."""

import json

import matplotlib
import numpy as np
import pytest
from helpers import ROOT
from PIL import Image

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from hjepa_utils import compare_arms, plotting


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_no_two_models_look_alike():
    own = plotting.STYLE.keys() - plotting.LIKE.keys()
    assert len({tuple(plotting.style(model).values()) for model in own}) == len(own)
    assert set(plotting.LIKE.values()) <= own
    assert plotting.style("a model nobody knows") == {"color": "0.65", "ls": "-"}


def words(saved):
    """Every key and text in a part of results.json."""
    if isinstance(saved, dict):
        return {*saved, *(word for part in saved.values() for word in words(part))}
    if isinstance(saved, list):
        return {word for part in saved for word in words(part)}
    return {saved}


def test_models_of_one_look_are_never_shown_together():
    results = json.loads((ROOT / "figures" / "results.json").read_text())["results"]
    shown = {notebook: words(part) & plotting.STYLE.keys() for notebook, part in results.items()}
    assert plotting.LIKE.keys() <= set().union(*shown.values())
    for models in shown.values():
        assert not [model for model, other in plotting.LIKE.items() if {model, other} <= models]


def test_every_model_of_the_published_results_has_its_look():
    results = json.loads((ROOT / "figures" / "results.json").read_text())["results"]
    controls, steps = results["08_controls"], results["07_symplecticity"]
    of_arms = [results["03_train_hnn"]["models"], results["04_ablations"]["arms"], *steps["arms"].values()]
    of_arms += [*controls["controls"].values(), *controls["leak"].values(), controls["images"]]
    of_arms += [*controls["outside"].values(), *results["09_true_state"]["compared"].values()]
    names = set().union(*of_arms)
    assert {"HNN", "MLP"} <= names <= plotting.STYLE.keys()


def test_arms_are_drawn_at_their_means_with_their_intervals():
    rng, groups = np.random.default_rng(0), np.repeat(np.arange(8), 3)
    errors = {arm: rng.normal(size=(2, 24, 5)) + shift for arm, shift in (("MLP", 3), ("HNN", 1))}
    compared = compare_arms(errors, "HNN", groups, seed=0)
    (panel,) = plotting.plot_arms({"mse": compared}, {"mse": "MSE"}).axes
    bar, mean, *others, reference = panel.lines
    assert list(bar.get_xdata()) == list(compared.summaries["MLP"].interval)
    assert mean.get_xdata() == [compared.summaries["MLP"].mean]
    assert reference.get_xdata() == [compared.summaries["HNN"].mean] * 2  # not simply the first arm
    assert mean.get_color() == plotting.colour("MLP") != others[0].get_color() == plotting.colour("HNN")
    assert [label.get_text() for label in panel.get_yticklabels()] == ["MLP", "HNN"]


def test_horizons_are_means_over_models_and_windows():
    errors = {arm: np.random.default_rng(k).random((2, 7, 15)) for k, arm in enumerate(("HNN", "MLP"))}
    figure = plotting.plot_horizons(errors, {"HNN": errors["HNN"]})
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    for arm, values in errors.items():
        np.testing.assert_allclose(lines[arm].get_ydata(), values.mean(axis=(0, 1)))
        assert list(lines[arm].get_xdata()) == list(range(1, 16))
        assert lines[arm].get_linestyle() == plotting.style(arm)["ls"]


def test_training_has_energy_and_dt_only_where_they_are_learned():
    rows = [{"epoch": e, "prediction": 1 / e, "test_mse": 2 / e, "energy": 0.1, "dt": 1.0} for e in (1, 2)]
    plain = [{k: v for k, v in row.items() if k != "dt"} for row in rows]
    error, energy, dt = plotting.plot_training({"HNN": rows, "MLP": plain}).axes
    assert [line.get_label() for line in error.lines] == [
        "HNN, train",
        "HNN, test",
        "MLP, train",
        "MLP, test",
    ]
    assert [line.get_label() for line in energy.lines] == ["HNN"] == [line.get_label() for line in dt.lines]
    assert list(error.lines[1].get_ydata()) == [2.0, 1.0]


def test_training_shows_what_the_mean_costs_where_it_is_known():
    rows = [{"epoch": e, "prediction": 0.5, "test_mse": 0.7, "energy": 0.1} for e in (1, 2)]
    error, *_ = plotting.plot_training({"MLP": rows}, training_mean=0.9).axes
    (line,) = (line for line in error.lines if line.get_label() == "training mean")
    assert list(line.get_ydata()) == [0.9, 0.9]
    assert error.get_title() == "training → test: MLP 0.50 → 0.70"


def test_labels_stand_at_the_ends_of_their_lines_and_do_not_touch():
    _, axes = plt.subplots()
    ends = {"low": 1.0, "near": 5.0, "nearer": 5.01, "high": 9.0, "outside": 30.0}
    for name, end in ends.items():
        axes.plot([0, 1], [0, end], label=name)
    axes.plot([0, 1], [0, 2])  # without a label
    axes.set_ylim(0, 10)
    plotting.label_ends(axes, gap=0.06)
    places = {text.get_text(): text.get_position()[1] for text in axes.texts}
    assert places.keys() == {"low", "near", "nearer", "high", "outside ↑"}
    assert places["low"] == pytest.approx(0.1) and places["high"] == pytest.approx(0.9)
    assert places["outside ↑"] == pytest.approx(1)
    assert places["nearer"] - places["near"] == pytest.approx(0.06)
    assert places["near"] + places["nearer"] == pytest.approx(2 * 0.5005)  # moved apart alike
    colours = {text.get_text(): text.get_color() for text in axes.texts}
    assert colours["low"] == axes.lines[0].get_color() != colours["high"]


def test_frames_of_a_figure_are_what_it_showed():
    figure = plt.figure(figsize=(1, 0.5), dpi=40)
    frames = plotting.frames_of(figure, lambda t: figure.set_facecolor(("red", "lime", "blue")[t]), 3)
    assert frames.shape == (3, 20, 40, 3) and frames.dtype == np.uint8
    assert [tuple(frame[0, 0]) for frame in frames] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


def test_a_gif_holds_every_panel_and_frame(tmp_path):
    frames = np.zeros((5, 32, 48, 3), np.uint8)
    for t in range(5):
        frames[t, :, : 8 * (t + 1)] = (255, 0, 0)
    path = tmp_path / "two.gif"
    plotting.save_gif(path, {"one": frames, "other": 255 - frames}, fps=10, pause=0.5)
    with Image.open(path) as gif:
        assert gif.n_frames == 5 and gif.info["loop"] == 0
        for t in range(5):
            gif.seek(t)
            assert gif.info["duration"] == (500 if t == 4 else 100)
            shown = np.asarray(gif.convert("RGB"), dtype=int)[-32:]
            assert np.abs(shown[:, :48] - frames[t]).max() < 16
            assert np.abs(shown[:, -48:] - (255 - frames[t].astype(int))).max() < 16


def test_a_background_of_a_gif_keeps_its_colour(tmp_path):
    frames = np.random.default_rng(0).integers(256, size=(3, 32, 48, 3), dtype=np.uint8)  # too many colours
    frames[:, :16] = background = (81, 88, 93)
    plotting.save_gif(tmp_path / "one.gif", {"": frames}, colours=24)
    with Image.open(tmp_path / "one.gif") as gif:
        assert (np.asarray(gif.convert("RGB"))[-32:-16] == background).all()


def test_a_film_strip_holds_every_frame_in_its_place():
    frames = np.arange(1, 5, dtype=np.uint8)[:, None, None, None] * np.full((8, 6, 3), 10, np.uint8)
    one = np.asarray(plotting.film_strip({"": frames}, gap=2))
    assert one.shape == (8, 4 * 8 - 2, 3)
    assert all((one[:, 8 * t : 8 * t + 6] == frames[t]).all() for t in range(4))
    assert all((one[:, 8 * t + 6 : 8 * t + 8] == 255).all() for t in range(3))
    two = np.asarray(plotting.film_strip({"a": frames, "b": 2 * frames}, gap=2))
    assert (two[-8:, :6] == 2 * frames[0]).all() and (two[:16] < 255).any()
    with pytest.raises(ValueError, match=r"got \[\(3, 8, 6, 3\), \(4, 8, 6, 3\)\]"):
        plotting.film_strip({"a": frames, "b": frames[1:]})


def test_panels_of_a_gif_must_be_alike(tmp_path):
    frames = np.zeros((5, 32, 48, 3), np.uint8)
    with pytest.raises(ValueError, match=r"got one \(5, 32, 48, 3\), other \(4, 32, 48, 3\)"):
        plotting.save_gif(tmp_path / "two.gif", {"one": frames, "other": frames[1:]})
    assert not list(tmp_path.iterdir())
