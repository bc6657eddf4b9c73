"""The search without labels, on latents that a known readout makes of the simulator's bodies."""

import warnings

import numpy as np
import pytest
import torch

import hjepa_utils as hj
from hjepa_utils.systems.contact import chain
from hjepa_utils.systems.contact import windows as w
from hjepa_utils.systems.contact.doubts import doubts_of
from hjepa_utils.systems.contact.orientation import TURNS, errors_of_turns, turned
from hjepa_utils.systems.contact.readout import FrameReadout
from hjepa_utils.systems.contact.schedule import Cycle, Schedule

CYCLES = (Cycle(8, 0.8, 3e-3, 0.02, 4e-3, 2),)
SHORT = Schedule(CYCLES, CYCLES, CYCLES, CYCLES, n_reading=20, n_epochs=1)


def teacher():
    with hj.seeded(0):
        return FrameReadout(2, 2, 24, n_units=32, n_waves=2).requires_grad_(False)


def turn(states, swapped, signs):
    """States in which the second body's axes come in another order, and point other ways."""
    states = states.clone()
    for half in (0, 4):
        second = states[..., half + 2 : half + 4] * torch.tensor(signs).to(states)
        states[..., half + 2 : half + 4] = second.flip(-1) if swapped else second
    return states


def videos(n_videos):
    """States at every second frame (n_videos, 74, 8) and at clips (n_videos, 34, 8), in the table's gauge."""
    tracks = np.stack(
        [hj.simulate_collisions(150, rng=np.random.default_rng([3, k])) for k in range(n_videos)]
    )
    tracks = torch.from_numpy(tracks)
    speed = w.SPEED * w.STRIDE / 30 / 108
    states = torch.cat([(tracks[..., :2].flatten(2) - 128) / 108, tracks[..., 2:].flatten(2) * speed], dim=-1)
    return states[:, 1:148:2], states[:, 8:141:4]


@pytest.mark.parametrize(
    ("swapped", "signs"), [(False, (1.0, -1.0)), (True, (-1.0, 1.0)), (True, (1.0, 1.0))]
)
def test_the_way_bodies_lie_is_told_by_their_contacts(swapped, signs):
    frames, clips = videos(12)
    with torch.no_grad():
        latents = teacher().of_windows(turn(frames, swapped, signs).float())
    starts = w.window_starts(34)
    middles = torch.stack([clips[:, start + 3] for start in starts], dim=1).flatten(0, 1)
    z, found, walls = w.cut(latents, starts), turn(middles, swapped, signs), w.unit_table(2)
    fitted = w.Fitted(found, w.errors_of(walls, teacher(), found, z).detach(), teacher())
    assert (fitted.errors < 1e-10).double().mean() > 0.5  # the bodies do not meet: walls explain them
    errors = errors_of_turns(fitted, z)
    assert len(errors) == 8 and sorted(errors)[1] > 1.05 * min(errors)
    assert TURNS[errors.index(min(errors))] == (swapped, *signs)
    table, now = turned(fitted, (swapped, *signs), z)
    assert table.scale[1].tolist() == list(signs)
    assert now.errors.mean() < fitted.errors.mean()
    now.states[:, [2, 3, 6, 7]] *= table.scale[1].repeat(2)
    torch.testing.assert_close(now.states, middles)


def test_a_readout_turned_reads_turned_states():
    _, clips = videos(1)
    read = teacher().of_windows(clips.float())
    other = teacher().turned(1, [1, 0]).of_windows(turn(clips, True, (1.0, 1.0)).float())
    torch.testing.assert_close(other, read, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def latents():
    with torch.no_grad():
        return teacher().of_windows(videos(6)[0].float()) * 3 + 1


@pytest.fixture(scope="module")
def model(latents):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = hj.ContactLatents.fit(latents, seed=0, schedule=SHORT, n_tries=1)
    assert [str(one.message) for one in caught if one.category is UserWarning] == model.doubts
    return model


def test_the_whole_search_is_one_call_and_says_what_it_found(model, latents):
    assert {"contrast", "agreement", "axes of bodies", "distance", "unexplained"} <= model.notes.keys()
    assert len(model.notes["held out by pairing"]) == 3
    assert all(len(errors) == 8 for errors in model.notes["error by orientation"].values())
    assert min(error for *_, error in model.notes["contenders"]) > 0
    axes, *_ = min(model.notes["contenders"], key=lambda one: one[-1])
    assert axes == model.notes["axes of bodies"]
    assert model.notes["distance"] == model.dynamics.pair_distance.item() != 0.3
    model.n_starts, model.n_kept = 2, 1
    predicted = model.rollout(latents[:2, 0], 3)
    assert predicted.shape == (2, 4, 24) and torch.equal(predicted[:, 0], latents[:2, 0])
    errors = hj.arm_errors([model], latents[:2, :4])  # without gradients
    torch.testing.assert_close(
        torch.from_numpy(errors[0]), (predicted - latents[:2, :4])[:, 1:].square().mean(dim=2).double()
    )


def test_a_shortened_schedule_has_fewer_steps_of_the_same_cycles():
    half, whole = Schedule().shortened(0.5), Schedule()
    assert half.n_reading == 125 and half.n_epochs == 50
    assert [cycle.n_steps for cycle in half.bodies] == [75, 70, 50]
    assert [cycle.share for cycle in half.long] == [cycle.share for cycle in whole.long]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_search_goes_on_where_it_stopped(model, latents, tmp_path, monkeypatch):
    calls, limit = [], [6]  # three pairings of two cycles

    def cut_short(*arguments, fit_windows=w.fit_windows, **options):
        if len(calls) == limit[0]:
            raise KeyboardInterrupt
        calls.append(None)
        return fit_windows(*arguments, **options)

    monkeypatch.setattr(w, "fit_windows", cut_short)
    monkeypatch.setattr(chain, "hash_code", lambda *_: "the code")
    options = {"seed": 0, "schedule": SHORT, "n_tries": 1, "checkpoint": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        hj.ContactLatents.fit(latents, **options)
    limit[0] = 1000
    again = hj.ContactLatents.fit(latents, **options)
    assert again.notes == model.notes
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    limit[0] = len(calls)  # nothing is fitted twice
    assert hj.ContactLatents.fit(latents, **options).notes == model.notes


def a_search(monkeypatch, endings):
    """The seeds that `search` tries, whose ends are these: (held-out error, share unexplained)."""
    seeds = []

    class Run:
        def __init__(self, z, seed, schedule, folder):
            seeds.append(seed)
            self.folder = folder

        def search(self):
            held_out, unexplained = endings[len(seeds) - 1]
            notes = {"held out": held_out, "unexplained": unexplained}
            return chain.Findings(None, None, None, notes, {"folder": str(self.folder)})

    monkeypatch.setattr(chain, "_Run", Run)
    return seeds


def test_an_unsure_search_begins_again_until_it_is_sure(monkeypatch, capsys, tmp_path):
    seeds = a_search(monkeypatch, [(0.1, 0.5), (0.2, 0.0), (0.05, 0.0)])
    found = chain.search(torch.zeros(1), seed=7, folder=tmp_path)
    assert seeds == [7, 1007]
    assert found.notes["held out"] == 0.2 and found.made_from["folder"].endswith("try 2")
    assert [bool(one["doubts"]) for one in found.notes["tries"]] == [True, False]
    assert "try 1 of 3 is unsure: 50% of the windows" in capsys.readouterr().out


def test_of_unsure_searches_the_one_that_reads_other_videos_best_is_kept(monkeypatch):
    seeds = a_search(monkeypatch, [(0.3, 0.5), (0.2, 0.4), (0.25, 0.2)])
    found = chain.search(torch.zeros(1), seed=7)
    assert len(seeds) == 3 and found.notes["held out"] == 0.2
    assert [one["held out"] for one in found.notes["tries"]] == [0.3, 0.2, 0.25]


def test_a_sure_search_is_tried_once(monkeypatch):
    seeds = a_search(monkeypatch, [(0.3, 0.0)])
    assert len(chain.search(torch.zeros(1), seed=0).notes["tries"]) == len(seeds) == 1


def test_is_saved_and_loaded(model, latents, tmp_path):
    model.n_starts, model.n_kept = 2, 1
    model.save_pretrained(tmp_path / "found")
    again = hj.ContactLatents.from_pretrained(tmp_path / "found")
    assert again.notes == model.notes and again.doubts == model.doubts
    torch.testing.assert_close(again.rollout(latents[:2, 0], 2), model.rollout(latents[:2, 0], 2))
    (tmp_path / "found" / "contact_latents.json").write_text("{}")
    with pytest.raises(ValueError, match="damaged"):
        hj.ContactLatents.from_pretrained(tmp_path / "found")


def test_says_when_it_is_unsure():
    contenders = [[[0, 1, 2, 3], [False, 1.0, 1.0], 0.3], [[0, 2, 1, 3], [True, 1.0, 1.0], 0.4]]
    sure = {"agreement": 0.9, "contenders": contenders, "held out, walls alone": 0.31, "unexplained": 0.05}
    assert doubts_of(sure) == [] == doubts_of({}) == doubts_of({"contenders": contenders[:1]})
    close = [contenders[0], [*contenders[1][:2], 0.301]]
    for key, value, said in (
        ("agreement", 0.25, "only 25% of the searches"),
        ("contenders", close, "which way they lie, is hardly told: errors 0.300 and 0.301"),
        ("unexplained", 0.4, "40% of the windows"),
        ("held out, walls alone", 0.29, "pass through each other: errors 0.300 and 0.290"),
    ):
        (doubt,) = doubts_of(sure | {key: value})
        assert said in doubt


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (torch.zeros(6, 34), r"float \(n_videos, n_clips, D\), got torch.float32 \(6, 34\)"),
        (torch.zeros(4, 34, 24), "at least 5 videos of 11 clips are needed, got 4 of 34"),
        (torch.full((6, 34, 24), torch.nan), "video 0 holds NaN or infinity at clip 0"),
        ({"a": torch.zeros(34, 24), "b": torch.zeros(30, 24)}, r"as many clips, got \[30, 34\]"),
    ],
)
def test_says_what_is_wrong_with_latents(bad, said):
    with pytest.raises(ValueError, match=said):
        hj.ContactLatents.fit(bad, seed=0)


def test_with_known_states_learns_the_same_kind_of_model(latents, tmp_path):
    tracks = np.stack([hj.simulate_collisions(150, rng=np.random.default_rng([3, k])) for k in range(6)])
    tracks = torch.from_numpy(tracks)
    states = torch.cat([(tracks[..., :2].flatten(2) - 128) / 108, tracks[..., 2:].flatten(2) / 100], dim=-1)
    options = {"seed": 0, "n_epochs": 3, "checkpoint": tmp_path}
    model = hj.ContactLatents.fit_with_states(latents, states, **options)
    again = hj.ContactLatents.fit_with_states(latents, states, **options)
    assert model.notes == again.notes and model.doubts == []
    (pair,) = [surface for surface in model.dynamics.surfaces if hasattr(surface, "bodies")]
    assert pair.distance * 108 / model.dynamics.scale[0, 0].item() == pytest.approx(40, abs=1e-3)
    read = model.read(states[:, 8], 33)  # from the first clip's middle through the whole video
    assert read.shape == latents.shape
    longer = hj.ContactLatents.fit_with_states(latents, states, seed=0, n_epochs=40)
    errors = [(m.read(states[:, 8], 33) - latents).square().mean() / latents.var() for m in (model, longer)]
    assert errors[1] < 0.2 * errors[0] and errors[1] < 0.1
    for bad, said in (
        (states[:, :100], r"at all frames of 6 videos of 34 clips, got \(6, 100, 8\)"),
        (states * 108, "got up to 108: subtract the table's middle"),
    ):
        with pytest.raises(ValueError, match=said):
            hj.ContactLatents.fit_with_states(latents, bad, seed=0)
