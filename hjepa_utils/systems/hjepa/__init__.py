"""The paper's H-JEPA: its models, controls and benchmark."""
