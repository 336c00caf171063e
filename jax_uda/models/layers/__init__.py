"""Layers that encoders, decoders and heads share."""
