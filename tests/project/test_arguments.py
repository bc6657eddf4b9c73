"""What is asked for on the command line, with the project's real notebooks; nothing is run."""

import ast
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import huggingface_hub.constants
import nbformat
import pytest

from hjepa_utils.__main__ import main
from hjepa_utils.latents.names import PAPER_ENCODER
from hjepa_utils.project.arguments import (
    Parameter,
    check_encoder,
    declared_parameters,
    find_notebooks,
    plan_run,
)
from hjepa_utils.runs.checks import MAX_SEED

ENCODER_USE = "use auto, embedded, a hub id (owner/name or owner/name@revision), or a folder"


def by_name(plan):
    return {path.stem: parameters for path, parameters in plan.items()}


@pytest.mark.parametrize("path", find_notebooks(), ids=lambda path: path.stem)
def test_declared_is_what_the_parameters_cell_assigns(path):
    (cell,) = (
        c for c in nbformat.read(path, as_version=4).cells if "parameters" in c.metadata.get("tags", ())
    )
    assigned = {line.targets[0].id: ast.literal_eval(line.value) for line in ast.parse(cell.source).body}
    declared = declared_parameters(path)
    assert {name: parameter.default for name, parameter in declared.items()} == assigned
    assert list(declared) == list(assigned)
    assert declared["SCALE"] == Parameter("quick", ("quick", "paper"))
    assert all(p.default in p.choices for p in declared.values() if p.choices)


def test_the_lists_of_choices_are_read():
    found = {}
    for path in find_notebooks():
        found |= {name: p.choices for name, p in declared_parameters(path).items() if p.choices}
    assert found["STARTS"] == ("random", "fixed")
    assert found["FRAMING"] == ("whole", "processor")
    assert found["LATENTS"] == ("standardised", "raw")
    assert found["SPLIT"] == ("video", "window")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "LATENTS", "foo"], "-p LATENTS is one of standardised, raw; got 'foo'"),
        (["-p", "FRAMING", "crop"], "-p FRAMING is one of whole, processor; got 'crop'"),
        (["-p", "STARTS", "Fixed"], "-p STARTS is one of random, fixed; got 'Fixed'"),
        (["-p", "SPLIT", ""], "-p SPLIT is one of video, window; got ''"),
        (["-p", "VIDEO_DIR", "/no/such"], "no folder /no/such"),
        (["-p", "SEED", "-1"], f"-p SEED is a whole number from 0 to {MAX_SEED}, got -1"),
        (["-p", "SEED", str(2**70)], f"-p SEED is a whole number from 0 to {MAX_SEED}, got {2**70}"),
        (["-p", "SEED", str(2**32)], f"-p SEED is a whole number from 0 to {MAX_SEED}"),
        (["-p", "SEED", "zero"], "-p SEED takes a value like 0, got 'zero'"),
        (["-p", "SEED", "1.5"], "-p SEED takes a value like 0, got '1.5'"),
        (["-p", "SEED", "True"], "-p SEED takes a value like 0, got 'True'"),
        (["-p", "SEED", ""], "-p SEED takes a value like 0, got ''"),
        (["-p", "SEED", "5#x"], "-p SEED takes a value like 0, got '5#x'"),
        (["--videos", "~no-such-user/v"], "'~no-such-user/v' cannot be a folder here: "),
        (["--encoder", "~no-such-user/e"], "'~no-such-user/e' cannot be a folder here: "),
        (["--encoder", "x" * 300], "cannot be a folder here: "),
        (["-p", "SEED", "1", "-p", "SEED", "2"], "-p SEED is given 2 times"),
        (["--videos", ".", "-p", "VIDEO_DIR", "."], "-p VIDEO_DIR is given 2 times"),
        (["-p", "SCALE", "paper"], "-p SCALE: use --scale instead"),
        (["-p", "ENCODER", "embedded"], "-p ENCODER: use --encoder instead"),
        (["--encoder", ""], f"unknown encoder '': {ENCODER_USE}"),
        (["--encoder", "vjepa"], f"unknown encoder 'vjepa': {ENCODER_USE}"),
        (["--encoder", "/no/such/folder"], f"unknown encoder '/no/such/folder': {ENCODER_USE}"),
    ],
)
def test_what_a_notebook_would_refuse_is_refused_at_once(capsys, monkeypatch, tmp_path, arguments, message):
    monkeypatch.setenv("HJEPA_ARTIFACTS", str(tmp_path / "artifacts"))
    paper = [] if "--encoder" in arguments else ["--encoder", "embedded"]
    assert main(["run", "--scale", "paper", *paper, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "artifacts").exists()


def test_links_in_a_circle_are_refused(tmp_path):
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(ValueError, match="circle"):
        plan_run("quick", "auto", overrides=[("VIDEO_DIR", str(tmp_path / "circle"))])
    with pytest.raises(ValueError, match="circle"):
        check_encoder(str(tmp_path / "circle"), "quick")


def test_a_seed_may_be_written_with_leading_zeros_and_underscores():
    for typed, meant in (("007", 7), ("1_000", 1000)):
        plan = by_name(plan_run("quick", "auto", overrides=[("SEED", typed)], only=["3"]))
        assert plan == {"03_train_hnn": {"SEED": meant}}


def test_no_short_form_publishes(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["run", "--p"])
    assert "unrecognized arguments: --p" in capsys.readouterr().err


def test_an_empty_folder_of_videos_is_refused(tmp_path):
    with pytest.raises(ValueError, match=f"no videos in {tmp_path}"):
        plan_run("quick", "auto", overrides=[("VIDEO_DIR", str(tmp_path))])


def test_what_is_good_goes_where_it_is_declared():
    overrides = [("LATENTS", "raw"), ("SEED", str(MAX_SEED)), ("STARTS", "random")]
    plan = by_name(plan_run("paper", "embedded", overrides=overrides))
    assert plan["01_generate_videos"] == {"SCALE": "paper", "SEED": MAX_SEED}
    assert plan["02_extract_vjepa_latents"] == {"SCALE": "paper", "ENCODER": "embedded", "SEED": MAX_SEED}
    assert plan["03_train_hnn"] == {"SCALE": "paper", "SEED": MAX_SEED, "LATENTS": "raw"}
    assert set().union(*by_name(plan_run("quick", "auto")).values()) == set()


def test_a_folder_of_videos_is_meant_from_the_current_directory(tmp_path, monkeypatch):
    (tmp_path / "my clips").mkdir()
    (tmp_path / "my clips" / "a.MP4").touch()
    monkeypatch.chdir(tmp_path)
    plan = by_name(plan_run("quick", "auto", overrides=[("VIDEO_DIR", "my clips")]))
    assert plan["02_extract_vjepa_latents"] == {"VIDEO_DIR": str(tmp_path / "my clips")}
    assert not {"08_controls", "09_true_state", "10_contact"} & plan.keys()


def save_encoder(folder, config='{"model_type": "vjepa2"}'):
    folder.mkdir()
    (folder / "config.json").write_text(config)
    (folder / "model.safetensors").touch()


def test_an_encoders_folder_is_made_absolute(tmp_path, monkeypatch):
    save_encoder(tmp_path / "my encoder")
    monkeypatch.chdir(tmp_path)
    plan = by_name(plan_run("quick", "my encoder"))
    assert plan["02_extract_vjepa_latents"] == {"ENCODER": str(tmp_path / "my encoder")}


@pytest.mark.parametrize("config", ['{"model_type": "bert"}', "{}", "[]", "{", "\0"])
def test_a_folder_of_another_model_is_refused(tmp_path, config):
    save_encoder(tmp_path / "bert", config)
    with pytest.raises(ValueError, match=r"bert is .* and a vjepa2 is needed: use auto"):
        check_encoder(str(tmp_path / "bert"), "quick")


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no model\.safetensors"):
        check_encoder(str(tmp_path), "quick")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub on this machine with two models, and an empty cache."""
    models = {"owner/video": "vjepa2", PAPER_ENCODER: "vjepa2", "owner/text": "bert"}

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self):
            repository, _, revision = self.path.removeprefix("/api/models/").partition("/revision/")
            known = repository in models and revision in ("", "v1")
            error = {} if known else {"X-Error-Code": "RevisionNotFound" if revision else "RepoNotFound"}
            config = {"model_type": models.get(repository)}
            answer = json.dumps({"id": repository, "modelId": repository, "config": config}).encode()
            self.send_response(200 if known else 404)
            for name, value in ({"Content-Length": str(len(answer))} | error).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", ["owner/video", "owner/video@v1", "auto"])
def test_a_model_of_the_hub_is_asked_for(hub, name):
    assert check_encoder(name, "paper") == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("owner/none", "the hub has no public model 'owner/none': use auto"),
        ("owner/video@v2", "the hub has no public model 'owner/video@v2'"),
        ("owner/text", "owner/text is a model of type bert, and a vjepa2 is needed"),
        ("owner/..name", "unknown encoder 'owner/..name'"),
    ],
)
def test_a_model_that_the_hub_does_not_have_is_refused(hub, name, message):
    with pytest.raises(ValueError) as caught:
        check_encoder(name, "paper")
    assert str(caught.value).startswith(message)


def test_a_hub_that_does_not_answer_is_no_bad_argument(hub, capsys):
    hub.shutdown()
    hub.server_close()
    assert main(["run", "--scale", "paper"]) == 1
    error = capsys.readouterr().err
    assert f"{PAPER_ENCODER} is not in the local cache and the hub cannot be reached" in error
    assert error.count("\n") == 1
    assert main(["run", "--scale", "paper", "-p", "LATENTS", "foo"]) == 2  # said first: needs no network


def test_the_cache_answers_without_the_hub(hub, tmp_path):
    hub.shutdown()
    hub.server_close()
    snapshot = tmp_path / "cache" / "models--owner--cached" / "snapshots" / ("0" * 40)
    snapshot.parent.mkdir(parents=True)
    save_encoder(snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    assert check_encoder("owner/cached", "quick") == "owner/cached"


def test_a_run_that_loads_no_encoder_does_not_ask_for_it(hub):
    hub.shutdown()
    hub.server_close()
    assert by_name(plan_run("paper", "auto", only=["3"])) == {"03_train_hnn": {"SCALE": "paper"}}
