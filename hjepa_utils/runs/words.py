"""Numbers in sentences."""


def counted(n, noun):
    """How many of them: 1 epoch, 50 epochs, 10,000 steps; for nouns that take an s."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
