"""What kind of number a coordinate is: an angle, or a place on a line."""

import math

import torch


class Angle:
    """Angles in radians; q and q + 2π are the same place."""

    n_features = 2  # numbers a coordinate shows itself by

    @staticmethod
    def features(q):
        """What a network may see: (…, n) → (cos q, sin q), (…, 2 n)."""
        return torch.cat([q.cos(), q.sin()], dim=-1)

    @staticmethod
    def from_features(features):
        """The way back, also from numbers that are no cosine and sine: their direction."""
        cos, sin = features.chunk(2, dim=-1)
        return torch.atan2(sin, cos)

    @staticmethod
    def difference(a, b):
        """The shorter way from a to b, in [-π, π)."""
        return torch.remainder(b - a + math.pi, 2 * math.pi) - math.pi

    @staticmethod
    def distance(a, b):
        """|e^{ia} - e^{ib}|² of every coordinate: smooth where the shorter way changes its side."""
        return 2 - 2 * (a - b).cos()


class Place:
    """Places on a line."""

    n_features = 1

    @staticmethod
    def features(q):
        return q

    @staticmethod
    def from_features(features):
        return features

    @staticmethod
    def difference(a, b):
        return b - a

    @staticmethod
    def distance(a, b):
        """|a - b|: a contact that comes a frame early or late weighs no more than its length."""
        return (a - b).abs()
