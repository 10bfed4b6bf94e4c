"""Pruning ratios by checkpoint and picture size: the shipped tables, the user's own, and the look-up."""
