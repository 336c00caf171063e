"""Decoders: maps of an encoder -> logits and one fused map."""
