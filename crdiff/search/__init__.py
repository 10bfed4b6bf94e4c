"""Search for the pruning ratios that score best (paper 3.3 and supplement 8); imports no host and no torch."""
