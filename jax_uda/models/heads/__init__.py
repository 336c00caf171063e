"""Heads beside the decoder: projections and class activation maps."""
