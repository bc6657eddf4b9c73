"""The committed explorer in a real browser, without a window."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from helpers import ROOT
from PIL import Image

from hjepa_utils.systems.hjepa import explorer
from hjepa_utils.systems.hjepa.explorer import TRUTH

TEXT = (ROOT / "figures" / "explorer.html").read_text(encoding="utf-8")
DATA = json.loads(re.search(r'type="application/json">(.*?)</script>', TEXT, re.DOTALL)[1])
# Frames of the screen come with the clock that the browser is told to run ahead.
STEADY = "<script>window.requestAnimationFrame = (f) => setTimeout(() => f(performance.now()), 20);</script>"


@pytest.fixture
def browser():
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if not found:
        pytest.skip("no browser is installed: install chromium to test the explorer in one")
    return found


@pytest.fixture
def opened(browser, tmp_path):
    """Open a page for so many milliseconds; gives its document as text, or a picture of it."""

    def run(text, *options, place="", milliseconds=1500):
        page = tmp_path / "page.html"
        page.write_text(text, encoding="utf-8")
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        flags += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr"]
        flags += [f"--virtual-time-budget={milliseconds}", *options]
        done = subprocess.run(
            [browser, *flags, f"{page.as_uri()}{place}"],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        assert "CONSOLE" not in done.stderr, "the page's script complains"
        return done.stdout

    return run


def readouts(document):
    return dict(re.findall(r"<span>([^<]*)</span><small>([^<]*)</small>", document))


def time_of(document):
    return re.search(r'<output id="time">step (\d+) of', document)[1]


def test_shows_the_numbers_of_the_step_it_is_opened_at(opened):
    video = DATA["videos"][3]
    document = opened(TEXT, "--dump-dom", place=f"#video={video['name']}&step=12")
    shown = readouts(document)
    assert time_of(document) == "12"
    for name, path in video["paths"].items():
        error, off = f"error {path['error'][12]:.2f}", f"{path['off'][12]:.0f} px off"
        assert shown[name].split(", ") == ([off] if name == TRUTH else [error, off])
    chosen = re.findall(r'aria-pressed="true"[^>]*title="([^"]*)"', document)
    assert video["name"] in document and (not chosen or chosen == [video["name"]])


def test_plays_when_opened_and_begins_again(opened):
    text = TEXT.replace("<head>", "<head>" + STEADY)
    assert int(time_of(opened(text, "--dump-dom", milliseconds=1500))) > 2
    at_end = "<script>state.t = lastStep() - 0.1;</script></body>"
    document = opened(text.replace("</body>", at_end), "--dump-dom", milliseconds=2500)
    assert 0 < int(time_of(document)) < 10


def test_keys_move_in_time_and_among_videos(opened):
    pressed = """<script>
    const press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    const seen = [..."RLHLEDUU "].map((letter) => {
      const arrows = { R: "ArrowRight", L: "ArrowLeft", D: "ArrowDown", U: "ArrowUp" };
      press({ ...arrows, H: "Home", E: "End" }[letter] || letter);
      return [state.t, state.video, Number(state.playing)];
    });
    document.title = JSON.stringify(seen);
    </script></body>"""
    document = opened(TEXT.replace("</body>", pressed), "--dump-dom", place="#step=5")
    seen = json.loads(re.search("<title>(.*?)</title>", document)[1])
    steps, videos = [6, 5, 0, 0, 33, 33, 33, 33, 0], [0, 0, 0, 0, 0, 1, 0, 9, 9]
    assert seen == [list(row) for row in zip(steps, videos, [0] * 8 + [1], strict=True)]


def test_hides_a_model_and_shows_another_plane(opened):
    clicks = """<script>
    const plain = () => at("orbit").toDataURL();
    const whole = plain();
    [...at("models").children][1].click();
    const without = plain();
    at("plane").value = 2;
    at("plane").dispatchEvent(new Event("change"));
    document.title = [whole !== without, without !== plain(), state.shown.has("HNN")].join(" ");
    </script></body>"""
    assert "<title>true true false</title>" in opened(
        TEXT.replace("</body>", clicks), "--dump-dom", place="#step=9"
    )


@pytest.mark.parametrize("width", [830, 1100])
def test_is_drawn_in_the_models_colours_and_fits_its_width(opened, tmp_path, width):
    fits = "<script>document.title = document.documentElement.scrollWidth <= innerWidth;</script></body>"
    assert "<title>true</title>" in opened(
        TEXT.replace("</body>", fits), f"--window-size={width},1100", "--dump-dom"
    )
    picture = tmp_path / "shot.png"
    opened(
        TEXT, f"--window-size={width},1100", f"--screenshot={picture}", place="#step=12", milliseconds=3000
    )
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    for model in DATA["models"][1:]:
        colour = [int(model["colour"][k : k + 2], 16) for k in (1, 3, 5)]
        assert (np.abs(pixels - colour).max(axis=2) < 6).sum() > 300, model["name"]
    for ball in DATA["ball_colours"]:  # the true frame is there, below the thumbnails
        colour = [int(ball[k : k + 2], 16) for k in (1, 3, 5)]
        assert (np.abs(pixels[250:] - colour).max(axis=2) < 30).sum() > 500


def test_runs_as_a_cells_output(opened):
    """In a frame of its own, as high as the page."""
    look = """<script>setTimeout(() => {
    const frame = document.querySelector("iframe"), inside = frame.contentDocument;
    const fits = inside.body.scrollHeight <= frame.clientHeight + 4;
    document.title = `${inside.getElementById("time").textContent}; ${fits}`;
    }, 1000);</script>"""
    shown = f"<!doctype html><head></head><body>{explorer.in_notebook(TEXT)}{look}</body>"
    document = opened(shown, "--dump-dom", "--window-size=900,1200", milliseconds=2000)
    title = html.unescape(re.search("<title>(.*?)</title>", document)[1])
    assert re.fullmatch(r"step \d+ of 33, \d+\.\d\d s; true", title)
