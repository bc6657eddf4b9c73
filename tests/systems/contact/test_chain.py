"""The search without labels, on latents that a known readout makes of the simulator's bodies."""

import warnings

import numpy as np
import pytest
import torch

import hjepa_utils as hj
from hjepa_utils.systems.contact import chain
from hjepa_utils.systems.contact import windows as w
from hjepa_utils.systems.contact.readout import FrameReadout

CYCLES = (chain.Cycle(8, 0.8, 3e-3, 0.02, 4e-3, 2),)
SHORT = chain.Schedule(CYCLES, CYCLES, CYCLES, CYCLES, n_reading=20, n_epochs=1)


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
    table, turned, errors = chain.orient(fitted, z)
    assert len(errors) == 8 and sorted(errors)[1] > 1.05 * min(errors)
    assert table.scale[1].tolist() == list(signs)
    turned.states[:, [2, 3, 6, 7]] *= table.scale[1].repeat(2)
    torch.testing.assert_close(turned.states, middles)


def test_a_readout_turned_reads_turned_states():
    _, clips = videos(1)
    read = teacher().of_windows(clips.float())
    turned = teacher().turned(1, [1, 0]).of_windows(turn(clips, True, (1.0, 1.0)).float())
    torch.testing.assert_close(turned, read, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def latents():
    with torch.no_grad():
        return teacher().of_windows(videos(6)[0].float()) * 3 + 1


@pytest.fixture(scope="module")
def model(latents):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = hj.ContactLatents.fit(latents, seed=0, schedule=SHORT)
    assert [str(one.message) for one in caught if one.category is UserWarning] == model.doubts
    return model


def test_the_whole_search_is_one_call_and_says_what_it_found(model, latents):
    assert {"contrast", "agreement", "axes of bodies", "distance", "unexplained"} <= model.notes.keys()
    assert len(model.notes["held out by pairing"]) == 3 and len(model.notes["error by orientation"]) == 8
    assert model.notes["distance"] == model.dynamics.pair_distance.item() != 0.3
    model.n_starts, model.n_kept = 2, 1
    predicted = model.rollout(latents[:2, 0], 3)
    assert predicted.shape == (2, 4, 24) and torch.equal(predicted[:, 0], latents[:2, 0])
    errors = hj.arm_errors([model], latents[:2, :4])  # without gradients
    torch.testing.assert_close(
        torch.from_numpy(errors[0]), (predicted - latents[:2, :4])[:, 1:].square().mean(dim=2).double()
    )


def test_a_shortened_schedule_has_fewer_steps_of_the_same_cycles():
    half, whole = chain.Schedule().shortened(0.5), chain.Schedule()
    assert half.n_reading == 125 and half.n_epochs == 50
    assert [cycle.n_steps for cycle in half.walls] == [70, 50, 70, 70]
    assert [cycle.share for cycle in half.long] == [cycle.share for cycle in whole.long]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_search_goes_on_where_it_stopped(model, latents, tmp_path, monkeypatch):
    calls = []

    def cut_short(*arguments, fit_windows=w.fit_windows, **options):
        calls.append(None)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return fit_windows(*arguments, **options)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(w, "fit_windows", cut_short)
        patched.setattr(chain, "hash_code", lambda *_: "the code")
        hj.ContactLatents.fit(latents, seed=0, schedule=SHORT, checkpoint=tmp_path)
    calls.extend([None] * 5)
    with monkeypatch.context() as patched:
        patched.setattr(w, "fit_windows", cut_short)
        patched.setattr(chain, "hash_code", lambda *_: "the code")
        again = hj.ContactLatents.fit(latents, seed=0, schedule=SHORT, checkpoint=tmp_path)
    assert len(calls) == 5 + 5 + 2  # contacts and long windows were left
    assert again.notes == model.notes
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


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
    sure = {
        "agreement": 0.9, "held out by pairing": [0.3, 0.4, 0.35], "error by orientation": [0.5] + [0.6] * 7,
        "unexplained": 0.05,
    }  # fmt: skip
    assert chain.doubts_of(sure) == [] == chain.doubts_of({})
    for key, value, said in (
        ("agreement", 0.25, "only 25% of the searches"),
        ("held out by pairing", [0.3, 0.301, 0.5], "which axes make a body is hardly told"),
        ("error by orientation", [0.5, 0.501, 0.6], "which way bodies lie is hardly told"),
        ("unexplained", 0.4, "40% of the windows"),
    ):
        (doubt,) = chain.doubts_of(sure | {key: value})
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
