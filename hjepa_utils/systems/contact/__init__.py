"""Bodies that fly straight and meet walls and each other: learned from their tracks, and predicted."""
