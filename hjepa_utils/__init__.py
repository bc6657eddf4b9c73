"""H-JEPA: Hamiltonian dynamics on the latents of a frozen video encoder.

Importing this package imports neither transformers nor torchcodec nor timm: what needs them
(`load_encoder`, `encode_video`, …) is fetched when it is first named.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from .dynamics.baselines import (
    GRU,
    BaselineMLP,
    LinearMap,
    NeuralODE,
    Persistence,
    TrainingMean,
    floors,
    n_parameters,
)
from .dynamics.entities import EntityHamiltonian, InteractionNetwork
from .dynamics.hamiltonian import HNN, FeatureHamiltonian, Hamiltonian, SeparableHNN, fourier_features
from .dynamics.implicit import implicit_midpoint_step, stormer_verlet_step
from .dynamics.integrators import driven_rollout, euler_step, leapfrog_step, rk4_step, rollout, tao_step
from .dynamics.planning import cem
from .dynamics.predictors import (
    DrivenDynamics,
    HamiltonianDynamics,
    NotSymplecticWarning,
    RotatedDynamics,
    SubstepDynamics,
)
from .dynamics.step import Step
from .dynamics.symplecticity import (
    RandomEnergy,
    convergence_order,
    energy_error,
    forward_back_error,
    nearly_exact_end,
    step_jacobian,
    step_properties,
    symplectic_defect,
)
from .experiment.comparison import Comparison, Experiment, arms_table, compare_arms, train_arms
from .experiment.ensemble import stack
from .experiment.evaluation import (
    arm_distances,
    arm_drifts,
    arm_errors,
    arm_rollouts,
    energy_drift,
    error_growth,
    long_drift,
    rollout_errors,
    training_error,
)
from .experiment.fit_settings import energy_weight
from .experiment.intervals import (
    Summary,
    arm_summary,
    clustered_interval,
    in_words,
    median_and_interval,
    ratio_of_means,
    summarise,
    to_digits,
)
from .experiment.ledger import effect, verdict
from .experiment.probing import StateProbe, frame_pca, probe_scores, ridge_probe
from .experiment.shipped import InEncoderUnits, load_model, shipped_models
from .experiment.side_by_side import Training, fit_side_by_side
from .experiment.training import fit, fit_seeds, rollout_loss
from .latents.files import load_latents
from .latents.names import PAPER_ENCODER
from .latents.video import find_videos, preview_video, read_video, stream_video, write_video
from .latents.windows import (
    Clips,
    LatentWindows,
    Standardiser,
    make_windows,
    split_by_video,
    split_by_window,
)
from .runs.checks import check
from .runs.files import ArtifactError, file_hash, write_atomically, write_json
from .runs.hardware import hardware, pick_device, pick_encoder_dtype, seeded
from .runs.run import start_run
from .runs.words import counted
from .simulators.billiards import (
    advance_balls,
    contact_masks,
    contacts_per_interval,
    kinetic_energy,
    render_frames,
    simulate_collisions,
)
from .simulators.bodies import advance_bodies, simulate_bodies
from .simulators.toy_physics import simulate_toy, toy_energy
from .simulators.toy_pictures import render_toy
from .systems.contact.latents import ContactLatents
from .systems.contact.model import ContactDynamics
from .systems.contact.tracks import states_from_tracks
from .systems.hierarchical.model import HierarchicalJEPA
from .systems.hjepa.controls import isotropy_defect
from .systems.hjepa.paper import PUBLISHED, paper_arms
from .systems.world_model.model import HamiltonianWorldModel

if TYPE_CHECKING:
    from .latents.clips import encode_video, encode_videos, simulate_latents
    from .latents.encoder import Encoder, load_encoder, random_encoder
    from .latents.folder import encode_folder
    from .latents.image_encoder import encode_images, load_image_encoder
    from .latents.pictures import resize_frames

_FETCHED = {
    "encode_folder": "latents.folder",
    "encode_images": "latents.image_encoder",
    "encode_video": "latents.clips",
    "encode_videos": "latents.clips",
    "Encoder": "latents.encoder",
    "load_encoder": "latents.encoder",
    "load_image_encoder": "latents.image_encoder",
    "random_encoder": "latents.encoder",
    "resize_frames": "latents.pictures",
    "simulate_latents": "latents.clips",
}


if not TYPE_CHECKING:  # or a checker would take every name for one of ours

    def __getattr__(name: str):
        if name not in _FETCHED:
            raise AttributeError(f"hjepa_utils has no {name!r}", name=name, obj=sys.modules[__name__])
        return getattr(import_module(f".{_FETCHED[name]}", __name__), name)


def __dir__():
    return __all__


__all__ = [
    "GRU", "HNN", "PAPER_ENCODER", "PUBLISHED", "ArtifactError", "BaselineMLP", "Clips", "Comparison",
    "ContactDynamics", "ContactLatents", "DrivenDynamics", "Encoder", "EntityHamiltonian", "Experiment",
    "FeatureHamiltonian", "Hamiltonian", "HamiltonianDynamics", "HamiltonianWorldModel", "HierarchicalJEPA",
    "InEncoderUnits", "InteractionNetwork", "LatentWindows", "LinearMap", "NeuralODE",
    "NotSymplecticWarning", "Persistence", "RandomEnergy", "RotatedDynamics", "SeparableHNN",
    "Standardiser", "StateProbe", "Step", "SubstepDynamics", "Summary", "Training", "TrainingMean",
    "advance_balls", "advance_bodies", "arm_distances", "arm_drifts", "arm_errors", "arm_rollouts",
    "arm_summary", "arms_table", "cem", "check", "clustered_interval", "compare_arms", "contact_masks",
    "contacts_per_interval", "convergence_order", "counted", "driven_rollout", "effect", "encode_folder",
    "encode_images", "encode_video", "encode_videos", "energy_drift", "energy_error", "energy_weight",
    "error_growth", "euler_step", "file_hash", "find_videos", "fit", "fit_seeds", "fit_side_by_side",
    "floors", "forward_back_error", "fourier_features", "frame_pca", "hardware", "implicit_midpoint_step",
    "in_words", "isotropy_defect", "kinetic_energy", "leapfrog_step", "load_encoder", "load_image_encoder",
    "load_latents", "load_model", "long_drift", "make_windows", "median_and_interval", "n_parameters",
    "nearly_exact_end", "paper_arms", "pick_device", "pick_encoder_dtype", "preview_video", "probe_scores",
    "random_encoder", "ratio_of_means", "read_video", "render_frames", "render_toy", "resize_frames",
    "ridge_probe", "rk4_step", "rollout", "rollout_errors", "rollout_loss", "seeded", "shipped_models",
    "simulate_bodies", "simulate_collisions", "simulate_latents", "simulate_toy", "split_by_video",
    "split_by_window", "stack", "start_run", "states_from_tracks", "step_jacobian", "step_properties",
    "stormer_verlet_step", "stream_video", "summarise", "symplectic_defect", "tao_step", "to_digits",
    "toy_energy", "train_arms", "training_error", "verdict", "write_atomically", "write_json",
    "write_video",
]  # fmt: skip
