"""The comparison of dense, pruned and amplified images as one of the host's own jobs, and what the page shows of it."""
