"""This repository's own pages: running notebooks, publishing, the README."""
