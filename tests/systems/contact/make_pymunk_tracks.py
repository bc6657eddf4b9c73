"""Run as a script, from the project's folder on the path: makes pymunk_tracks.npz, with pymunk 7.3.1."""

from pathlib import Path

import numpy as np

from hjepa_utils.simulators.pymunk_table import simulate_pymunk

ANGLES = 0.2 + np.arange(6) * np.pi / 3
HEXAGON = 128 + 120 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
RADII, MASSES = (15.0, 25.0), (1.0, 3.0)

if __name__ == "__main__":
    tracks = simulate_pymunk(
        16, 150, rng=np.random.default_rng(0), corners=HEXAGON, radii=RADII, masses=MASSES
    )
    np.savez_compressed(Path(__file__).with_name("pymunk_tracks.npz"), tracks=tracks.astype(np.float32))
