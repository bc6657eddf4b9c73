"""A hierarchical JEPA: two time scales of one encoder, forces as actions, plans in latent space."""
