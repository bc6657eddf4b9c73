"""Energies, steps, and predictors with one `rollout`."""
