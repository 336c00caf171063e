"""Heads beside the classifier: projections and class-activation maps."""
