"""How long each part of the search for bodies takes."""

from typing import NamedTuple


class Cycle(NamedTuple):
    """Begin the bad windows again from `n_tries` places, then `n_steps` of `fit_windows`."""

    n_steps: int
    share: float
    lr: float
    state_lr: float
    map_lr: float = 0.0
    n_tries: int = 4


class Schedule(NamedTuple):
    """The cycles of each part, and what judges and ends them; `shortened` for a try."""

    bodies: tuple = (
        Cycle(150, 0.8, 3e-3, 0.02), Cycle(140, 0.8, 3e-3, 0.02, 4e-3), Cycle(100, 0.8, 3e-3, 0.02, 4e-3),
    )  # fmt: skip
    walls: tuple = (Cycle(140, 0.85, 2e-3, 0.015, n_tries=8), Cycle(140, 0.85, 2e-3, 0.015, n_tries=8))
    contacts: tuple = (
        *(Cycle(130, share, 2e-3, 0.015, n_tries=10) for share in (0.85, 0.85, 0.9, 0.9)),
        Cycle(180, 0.95, 1.5e-3, 0.015, n_tries=10),
    )
    long: tuple = (
        Cycle(130, 0.8, 1.5e-3, 0.005, 2e-3, 10), Cycle(130, 0.85, 2e-3, 0.01, 2e-3, 10),
        Cycle(130, 0.85, 2e-3, 0.01, 2e-3, 10), Cycle(130, 0.9, 2e-3, 0.008, 2e-3, 10),
        Cycle(130, 0.92, 1.5e-3, 0.005, 2e-3, 10),
    )  # fmt: skip
    n_reading: int = 250  # steps of the readouts that held-out videos judge
    n_epochs: int = 100  # of the readout of clips

    def shortened(self, share):
        """With so much of all steps and epochs."""

        def shorter(cycles):
            return tuple(c._replace(n_steps=max(1, round(share * c.n_steps))) for c in cycles)

        n_reading, n_epochs = (max(1, round(share * n)) for n in self[4:])
        return Schedule(*map(shorter, self[:4]), n_reading=n_reading, n_epochs=n_epochs)
