"""Exact physics and its pictures: where the data come from."""
