"""Training of the demo's checkpoint and scorer: ``python -m demo.train``."""
