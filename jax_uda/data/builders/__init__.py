"""Preparation of data sets: images and train-id labels as PNG in ArrayRecord files."""
