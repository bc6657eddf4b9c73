"""The README's tables, made from `figures/results.json` so that they cannot differ from it."""

from ...experiment.intervals import in_words, to_digits
from .paper import PUBLISHED

MIXTURES = {  # notebook 9's coordinates, and what the README calls them
    "true state": "true state",
    "mixed state": "mixed into 64 dimensions",
    "mixed, q and p apart": "mixed, q and p apart",
}


def results_table(saved):
    """Markdown from the content of a `results.json` that holds notebooks 2 to 8."""
    run, results = saved["run"], saved["results"]
    ablations, latents = results["04_ablations"], results["02_extract_vjepa_latents"]
    lines = [
        "| model | MSE here | 95 % over videos | drift / spread of H | paper: MSE | paper: drift |",
        "|---|---|---|---|---|---|",
    ]
    for arm, score in ablations["arms"].items():
        cells = (mse_and_std(score["mse"]), interval(score["mse"]), in_words(score["drift_over_spread"], 2))
        lines.append(f"| {arm} | {' | '.join((*cells, *PUBLISHED[arm]))} |")
    for floor in ablations["floors"]:
        score = results["03_train_hnn"]["models"][floor]
        lines.append(f"| {floor} | {mse_and_std(score)} | {interval(score)} | – | – | – |")
    training = {arm: score["training_mse"] for arm, score in ablations["arms"].items()}
    training |= {"training mean": ablations["floors_training_mse"]["training mean"]}
    on_training_windows = ", ".join(f"{arm} {in_words(mse, 2)}" for arm, mse in training.items())
    ratio = results["08_controls"]["mlp_over_hnn"]
    seeds = f"{ablations['n_seeds']} seeds" if ablations["n_seeds"] > 1 else "one seed"
    lines += [
        "",
        f"Encoder `{latents['encoder']}` (z of width {latents['latent_dim']}), {run['scale']} scale "
        f"({ablations['training']['n_epochs']} epochs), {seeds} from {run['seed']}, on: {run['hardware']}. "
        "MSE per standardised dimension over 15 steps, averaged over seeds, ± one standard deviation over "
        "test windows; the paper's are in raw units of another encoder and cannot be compared with ours, "
        "only their order can. "
        f"The MLP's error over the HNN's, {results['08_controls']['n_seeds']} seeds each: "
        f"{in_words(ratio, 2)} (the paper: 1.9). On the training windows: {on_training_windows}.",
    ]
    return "\n".join(lines)


def controls_table(saved):
    """Markdown of notebook 8's floors, controls, partitions and leak, with 95 % intervals."""
    results = saved["results"]["08_controls"]
    short, long = (results["controls"][horizon] for horizon in ("15 steps", "whole video"))
    lines = ["| model | 15 steps | − HNN | whole video, 33 steps | − HNN |", "|---|---|---|---|---|"]
    for arm in sorted(short, key=lambda arm: short[arm]["mean"]):
        scores = [of[arm] for of in (short, long) if arm in of]
        cells = [text for score in scores for text in (in_words(score, 2), difference(score))]
        lines.append(f"| {arm} | {' | '.join(cells + ['–'] * (4 - len(cells)))} |")
    lines += [
        "",
        "| q and p of the HNN are | isotropy defect | 15 steps | − first and second half |",
        "|---|---|---|---|",
    ]
    names = {"HNN": "first and second half of z (the paper)"}
    for arm, score in results["partition"].items():
        cells = (mean_and_range(results["isotropy_defect"][arm]), in_words(score, 2), difference(score))
        lines.append(f"| {names.get(arm, arm)} | {' | '.join(cells)} |")
    lines += ["", "| split | HNN | Baseline MLP | MLP − HNN |", "|---|---|---|---|"]
    for split, scores in results["leak"].items():
        hnn, mlp = scores["HNN"], scores["Baseline MLP"]
        lines.append(f"| {split} | {in_words(hnn, 2)} | {in_words(mlp, 2)} | {difference(mlp)} |")
    of_window = results["leak"]["split by window"]["HNN"]["n_groups"]
    lines += [
        "",
        f"MSE per standardised dimension on test videos, encoder `{results['encoder']}`, means over "
        f"{results['n_seeds']} seeds, brackets are 95 % intervals over videos ({of_window} of them have test "
        "windows in the split by window), differences paired. Linear extrapolation alone also sees the "
        "embedding before the first. *PCA, alternating*: principal components in turn as q and p. *Isotropy "
        "defect*: tr(C J C Jᵀ) / tr(C²) with the covariance C of z, mean and range over permutations and "
        "seeds.",
    ]
    return "\n".join(lines)


def true_state_table(saved):
    """Markdown of notebook 9: the arms on the true state, and what limits the Hamiltonian network."""
    results = saved["results"]["09_true_state"]
    compared = [results["compared"][name] for name in MIXTURES]
    lines = [f"| model | {' | '.join(MIXTURES.values())} | on training windows |", "|---|---|---|---|---|"]
    for arm in compared[0]:
        cells = [in_words(scores[arm], 2) for scores in compared]
        cells.append(in_words(results["training_errors"][arm], 2))
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    lines += [
        "",
        "| HNN on the true state | 15 steps | on training windows | − width 256 |",
        "|---|---|---|---|",
    ]
    for arm, score in results["limits"].items():
        on_training_windows = in_words(results["limits_training_errors"][arm], 2)
        cells = (in_words(score, 2), on_training_windows, difference(score))
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    defects = ", ".join(f"{results['isotropy_defect'][name]:.2f}" for name in MIXTURES)
    of_hnn = results["hnn_by_coordinates"]
    changes = "; ".join(f"{name} {difference(of_hnn[name])}" for name in list(MIXTURES)[1:])
    fourier = results["fourier"]["HNN, Fourier features"]["difference"]
    lines += [
        "",
        f"HNN with Fourier features − residual MLP: {in_words(fourier, 2)}. "
        f"The HNN's error − that on the true state: {changes}. "
        f"Isotropy defects of the three coordinates: {defects}. As above, {results['n_seeds']} seeds. The "
        "mixtures are one random draw each. Rows without a width have 256. Errors on training windows are "
        "of the true state, their intervals over the training videos.",
    ]
    return "\n".join(lines)


def mean_and_range(values):
    """0.15 (0.14 to 0.16), and of a single value itself."""
    mean = f"{sum(values) / len(values):#.2g}"
    return f"{mean} ({min(values):#.2g} to {max(values):#.2g})" if len(values) > 1 else mean


def mse_and_std(score):
    return f"{score['mean']:.3f} ± {score['std']:.2f}"


def interval(score):
    return "[{:.2f}, {:.2f}]".format(*score["interval"])


def difference(score):
    return in_words(score["difference"], 2) if "difference" in score else "–"


def timing_table(saved):
    """Markdown of notebook 5's benchmark, from the content of a `results.json`."""
    times = saved["wall_clock"]["05_phase_space_and_timing"]
    alone, batch = times["ms_per_step"]["batch 1"], times["ms_per_step"]["batch 32"]
    updates = times["ms_per_update"]
    lines = [
        "| model | step, batch 1 | step, batch 32 | one update in training |",
        "|---|---|---|---|",
    ]
    for name in [*alone, *(name for name in updates if name not in alone)]:
        cells = [time_cell(of.get(name)) for of in (alone, batch, updates)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    limit = saved["results"]["05_phase_space_and_timing"]["arithmetic_limit"]
    embedding = "; ".join(
        f"{name} {to_digits(rates['encode_videos'], 3)} and "
        f"{to_digits(rates['one clip at a time, predictor on'], 3)}, "
        f"{to_digits(rates['encode_videos']['ratio'])} times"
        for name, rates in times["clips_per_second"].items()
    )
    lines += [
        "",
        f"D = {times['dim']}, {times['hardware']}; medians of {times['rounds']} rounds in which all take "
        "turns, below them the ratio to the MLP, round by round, with 95 % intervals of the medians in this "
        f"run. By multiply–adds alone leapfrog costs {limit:.1f}×; the paper reports 18×. Clips embedded a "
        "second from video files, by `encode_videos` and one at a time with the predictor left on, as "
        f"published, medians of {times['rounds_of_clips']} rounds: {embedding}.",
    ]
    return "\n".join(lines)


def time_cell(time):
    """Milliseconds and, under them, the ratio to the MLP; a dash for what was not timed."""
    if time is None:
        return "–"
    ratio = f"<br>{to_digits(time['ratio'])} ×" if "ratio" in time else ""
    return f"{to_digits(time, 3)} ms{ratio}"
