"""Search ratios for this prompt: the job in the host's queue, its controls, what the page shows of it, and its API."""
