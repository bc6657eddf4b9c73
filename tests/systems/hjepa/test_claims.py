"""The ledger: verdicts follow from the numbers, in both directions."""

import copy
import json

import pytest

from hjepa_utils import PAPER_ENCODER
from hjepa_utils.experiment.ledger import claims_table
from hjepa_utils.systems.hjepa.claims import ledger, write_claims


def summary(mean, half_width=0.1, **more):
    return {"mean": mean, "std": 0.2, "interval": [mean - half_width, mean + half_width], **more}


def properties(size, order):
    return {"relative": size, "log |det M|": size, "forward–back": size, "order": order}


def as_the_paper_says():
    """A `results.json` in which every claim that can hold does."""
    claim = {"difference": 0.1, "interval": [0.05, 0.15], "verdict": "confirmed"}
    arms = {"HNN (full)": 1.0, "HNN (Euler)": 1.2, "Baseline MLP": 2.0}
    steps = {
        "random_weights": {
            "leapfrog": properties(1e-15, 2.0),
            "leapfrog, separable H": properties(1e-16, 2.0),
        },
        "long_steps": 10_000,
        "long_drift": {"leapfrog": summary(0.2), "implicit midpoint": summary(0.15)},
        "arms": {"mse": {"Euler": summary(1.2, difference=summary(0.2))}},
        "drift_over_50_steps": summary(0.1, 0.02),
        "distance_after_100_steps": summary(1.0),
        "dt": {"leapfrog": [1.0, 1.2]},
        "rescaled_difference": 0.5,
        "n_parameters": {"HNN": 493_057, "Baseline MLP": 459_968},
        "n_parameters_at_1024": {"HNN": 919_041, "Baseline MLP": 1_312_768},
    }
    controls = {
        "controls": {
            "15 steps": {"HNN": summary(1.0), "Baseline MLP": summary(1.9, difference=summary(0.9))}
        },
        "mlp_over_hnn": summary(1.9),
        "true_energy": {
            "largest energy drift": {
                "HNN": summary(1.2),
                "Baseline MLP": summary(3.0),
                "true latents": summary(0.9),
            }
        },
        "growth": {
            name: {"first": summary(0.3), "last": summary(1.0), "excess": summary(-3.5)}
            for name in ("HNN", "persistence")
        },
    }
    ablations = {
        "arms": {name: {"mse": summary(mse)} for name, mse in arms.items()},
        "claims": {
            "the energy loss costs accuracy": claim,
            "the energy loss lowers the relative drift": claim,
        },
    }
    time = {"ratio": {"median": 18.0, "interval": [17.0, 19.0]}}
    times = {"HNN (leapfrog)": time, "HNN (leapfrog, autograd)": time}
    data = {"data": {"length": 16, "scaling": "standardised", "split": "video"}}
    return {
        "run": {"scale": "paper", "seed": 0, "encoder": "embedded", "hardware": "a test"},
        "results": {
            "03_train_hnn": data,
            "04_ablations": ablations,
            "07_symplecticity": steps,
            "08_controls": controls,
        },
        "wall_clock": {"05_phase_space_and_timing": {"ms_per_step": {"batch 1": times}}},
    }


CLAIMS = [
    "1.9× lower error than the MLP",
    "all HNN variants beat the MLP",
    "leapfrog predicts better than Euler",
    "the error grows sublinearly",
    "the step is symplectic (proposition 1)",
    "it preserves volume",
    "it is reversible in time",
    "it is of second order",
    "the drift of H stays bounded",
    "prediction–conservation trade-off",
    "physically consistent dynamics",
    "no sinks, no explosions",
    "dt* is a dilated time scale",
    "30 % fewer parameters",
    "18 times the MLP's cost is its price",
]


def verdicts(saved):
    return {row["claim"]: row["verdict"] for row in ledger(saved)}


def test_all_of_the_papers_claims_are_there_and_hold_where_the_numbers_say_so():
    found = verdicts(as_the_paper_says())
    assert list(found) == CLAIMS
    undecided = {"dt* is a dilated time scale": "not decided"}  # it can be refuted only
    assert found == dict.fromkeys(CLAIMS, "confirmed") | undecided


def put(saved, path, value):
    *parents, last = path
    for key in parents:
        saved = saved[key]
    saved[last] = value


STEPS = ("results", "07_symplecticity")
CONTROLS = ("results", "08_controls")
COSTS = ("results", "04_ablations", "claims", "the energy loss costs accuracy")


@pytest.mark.parametrize(
    ("claim", "path", "value"),
    [
        (CLAIMS[0], (*CONTROLS, "mlp_over_hnn"), summary(1.2)),
        (CLAIMS[1], ("results", "04_ablations", "arms", "HNN (Euler)", "mse"), summary(2.5)),
        (CLAIMS[2], (*STEPS, "arms", "mse", "Euler", "difference"), summary(-0.3)),
        (CLAIMS[3], (*CONTROLS, "growth", "HNN", "excess"), summary(0.3)),
        (CLAIMS[4], (*STEPS, "random_weights", "leapfrog", "relative"), 1e-2),
        (CLAIMS[5], (*STEPS, "random_weights", "leapfrog", "log |det M|"), 1e-2),
        (CLAIMS[6], (*STEPS, "random_weights", "leapfrog", "forward–back"), 1e-2),
        (CLAIMS[7], (*STEPS, "random_weights", "leapfrog", "order"), 1.0),
        (CLAIMS[8], (*STEPS, "long_drift", "leapfrog"), summary(9.0)),
        (CLAIMS[9], (*COSTS, "verdict"), "refuted"),
        (CLAIMS[10], (*CONTROLS, "true_energy", "largest energy drift", "HNN"), summary(8.0)),
        (CLAIMS[11], (*STEPS, "distance_after_100_steps"), summary(22.0)),
        (CLAIMS[12], (*STEPS, "rescaled_difference"), 1e-6),
        (CLAIMS[13], (*STEPS, "n_parameters_at_1024", "HNN"), 1_300_000),
        (
            CLAIMS[14],
            ("wall_clock", "05_phase_space_and_timing", "ms_per_step", "batch 1", "HNN (leapfrog)"),
            {"ratio": {"median": 3.0, "interval": [2.8, 3.1]}},
        ),
    ],
)  # fmt: skip
def test_each_claim_is_refuted_by_its_own_number_alone(claim, path, value):
    saved = as_the_paper_says()
    before = verdicts(saved)
    put(saved, path, value)
    assert verdicts(saved) == before | {claim: "refuted"}


@pytest.mark.parametrize(
    ("claim", "path"),
    [
        (CLAIMS[0], (*CONTROLS, "mlp_over_hnn")),
        (CLAIMS[1], ("results", "04_ablations", "arms", "HNN (Euler)", "mse")),
        (CLAIMS[2], (*STEPS, "arms", "mse", "Euler", "difference")),
        (CLAIMS[8], (*STEPS, "long_drift", "leapfrog")),
    ],
)
def test_an_interval_that_decides_nothing_is_said_to(claim, path):
    saved = as_the_paper_says()
    put(saved, path, summary(0.0) if "difference" in path else summary(1.5, 0.55))
    assert verdicts(saved)[claim] == "not decided"


def test_a_cost_on_both_sides_of_half_the_published_is_not_decided():
    saved = as_the_paper_says()
    times = saved["wall_clock"]["05_phase_space_and_timing"]["ms_per_step"]["batch 1"]
    times["HNN (leapfrog)"] = {"ratio": {"median": 9.5, "interval": [8.5, 10.0]}}
    assert verdicts(saved)[CLAIMS[14]] == "not decided"


def test_accuracy_on_the_papers_latents_is_not_testable_on_others():
    saved = as_the_paper_says()
    rows = {row["claim"]: row for row in ledger(saved)}
    for claim in (CLAIMS[4], CLAIMS[7], CLAIMS[12], CLAIMS[13]):  # about the step, dt, the sizes
        assert rows[claim]["on V-JEPA 2"] == rows[claim]["verdict"]
    for claim in (*CLAIMS[:4], *CLAIMS[8:12]):
        assert rows[claim]["on V-JEPA 2"] == "not testable without the published weights"
    saved["run"]["encoder"] = PAPER_ENCODER
    assert all(row["on V-JEPA 2"] == row["verdict"] for row in ledger(saved))


def test_times_on_a_cpu_decide_nothing_about_the_papers():
    saved = as_the_paper_says()
    saved["run"]["hardware"] = "CPU, 2 threads"
    cost = ledger(saved)[-1]
    assert (cost["verdict"], cost["on V-JEPA 2"]) == ("confirmed", "not decided")


def test_an_energy_that_overflowed_is_not_bounded():
    saved = as_the_paper_says()
    saved["results"]["07_symplecticity"]["long_drift"]["leapfrog"] = None
    row = next(row for row in ledger(saved) if row["claim"] == "the drift of H stays bounded")
    assert row["verdict"] == "refuted" and "overflow or no convergence over 10,000" in row["here"]


def test_the_json_has_the_run_and_the_table_has_every_row(tmp_path):
    saved = as_the_paper_says()
    (tmp_path / "results.json").write_text(json.dumps(saved))
    rows = write_claims(tmp_path / "results.json", tmp_path / "claims.json")
    written = json.loads((tmp_path / "claims.json").read_text())
    assert written == {"run": saved["run"], "claims": rows}
    header, rule, *lines = claims_table(written).splitlines()
    assert len(lines) == len(CLAIMS)
    for line, row in zip(lines, rows, strict=True):
        cells = line.replace("\\|", "¦").split("|")
        assert len(cells) == len(header.split("|")) == len(rule.split("|"))
        assert row["claim"] in line and f"**{row['verdict']}**" in line


def test_numbers_are_shown_as_saved():
    saved = copy.deepcopy(as_the_paper_says())
    put(saved, (*CONTROLS, "mlp_over_hnn"), summary(0.755, 0.041))
    here = ledger(saved)[0]["here"]
    assert here == "1.00 [0.90, 1.10] against 1.90 [1.80, 2.00]: 0.76 [0.71, 0.80] times"
