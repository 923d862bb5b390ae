"""Selection algorithms on torch: a room a paper, and what the rooms share."""

__version__ = "0.1.0"
