"""A run: built from its config, checked, begun, trained, scored, reported."""
