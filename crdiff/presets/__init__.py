"""Pruning ratios by checkpoint and image size: the shipped tables, the user's own, and the look-up."""
