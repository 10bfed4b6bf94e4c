"""Scores of images: how well an image shows its prompt, higher is better.

``registry`` makes a scorer from its name or from a weighted sum of names; ``scorer`` is the interface all share.
Models are read with the transformers package a WebUI already has, from files found on this machine. Nothing is
imported or downloaded before it is asked for: importing this package loads neither torch nor transformers.
"""
