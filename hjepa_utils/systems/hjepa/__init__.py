"""The paper's H-JEPA: published numbers, controls and the benchmark."""
