"""A run on a folder of one's own videos: what is left out, which encoder suits, what came out."""

from ..experiment.intervals import FEWEST, Summary
from ..latents.names import PAPER_ENCODER
from ..runs.results import read_results

ABOUT_THE_BALLS = ("01_generate_videos", "06_pretrain_embedded_encoder")
WORLDS_BEGIN = "08"  # this notebook and all after it need true states, or simulate what they are about
REASON = "they make simulated worlds and their encoders, or need true states"
WHICH_ENCODER = (
    "note: the embedded encoder was trained on two balls on black and may miss what matters in your videos; "
    f"for a real one add --encoder {PAPER_ENCODER} (a download of 1.3 GB; 2 to 7 s a clip without a GPU)"
)
CALLED = {"HNN": "your HNN", "MLP": "your MLP", "training mean": "the mean"}


def without_the_balls(notebooks):
    """The notebooks that own videos are for, telling which are left out; `ValueError` if none remains."""
    left_out = [path.stem for path in notebooks if path.stem in ABOUT_THE_BALLS or path.stem >= WORLDS_BEGIN]
    if len(left_out) == len(notebooks):
        raise ValueError(f"not for your own videos: {', '.join(left_out)}; {REASON}")
    if left_out:
        print(f"left out for your own videos: {', '.join(left_out)}; {REASON}")
    return [path for path in notebooks if path.stem not in left_out]


def outcome(scale_folder):
    """Notebook 3's errors in one sentence, from the results in the folder of a scale."""
    saved = read_results(scale_folder / "results.json")["results"]["03_train_hnn"]
    scores = {name: Summary.from_dict(saved["models"][name]) for name in CALLED}
    n_videos = scores["HNN"].n_groups
    errors = ", ".join(f"{called} {scores[name].fixed(2)}" for name, called in CALLED.items())
    interval = " [95 % interval]" if n_videos >= FEWEST else ""
    on = f"{n_videos} held-out video" + ("s" if n_videos > 1 else "")
    steps = saved["data"]["length"] - 1
    return f"error{interval} over {steps} steps on {on}, encoder {saved['encoder']}: {errors}"
