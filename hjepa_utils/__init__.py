"""H-JEPA: Hamiltonian dynamics on the latents of a frozen video encoder.

Importing this package imports neither transformers nor torchcodec: what needs them
(`load_encoder`, `encode_video`, `read_video`, …) is fetched when it is first named.
"""

from importlib import import_module

_HOME = {
    "billiards": (
        "advance_balls", "contacts_per_interval", "kinetic_energy", "render_frames", "simulate_collisions",
    ),
    "video": ("preview_video", "read_video", "stream_video", "write_video"),
    "encoder": ("Encoder", "PAPER_ENCODER", "load_encoder"),
    "clips": ("encode_video", "encode_videos"),
    "hamiltonian": ("HNN", "Hamiltonian", "SeparableHNN"),
    "integrators": (
        "NotSymplecticWarning", "euler_step", "implicit_midpoint_step", "leapfrog_step", "rk4_step",
        "rollout", "stormer_verlet_step", "tao_step",
    ),
    "dynamics": ("BaselineMLP", "HamiltonianDynamics", "Persistence", "TrainingMean"),
    "windows": (
        "LatentWindows", "Standardiser", "load_latents", "make_windows", "split_by_video", "split_by_window",
    ),
    "training": ("energy_weight", "fit", "fit_arm", "fit_seeds", "rollout_loss"),
    "evaluation": (
        "clustered_interval", "energy_drift", "frame_pca", "in_words", "median_and_interval",
        "probe_scores", "ridge_probe", "rollout_errors", "summarise", "to_digits",
    ),
    "symplecticity": (
        "RandomEnergy", "convergence_order", "energy_error", "forward_back_error", "isotropy_defect",
        "step_jacobian", "step_properties", "symplectic_defect",
    ),
    "arms": (
        "Experiment", "arm_distances", "arm_drifts", "arm_errors", "arm_rollouts", "arm_summary",
        "arms_table", "compare_arms", "effect", "error_growth", "long_drift", "ratio_of_means",
        "training_error",
    ),
    "run": ("check", "seeded", "start_run"),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}
__all__ = sorted(_MODULE_OF)


def __getattr__(name):
    if name not in _MODULE_OF:
        raise AttributeError(f"hjepa_utils has no {name!r}")
    return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)


def __dir__():
    return __all__
