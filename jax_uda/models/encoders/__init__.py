"""Encoders: image -> maps, fine to coarse."""
