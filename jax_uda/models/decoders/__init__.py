"""Decoders: encoder maps -> one fused map and logits."""
