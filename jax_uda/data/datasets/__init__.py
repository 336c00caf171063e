"""TFDS builders: each turns one data set into ArrayRecord files of PNG images and labels."""
