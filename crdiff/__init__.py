"""CR-Diff: cross-resolution diffusion through block-wise pruning and pruned output amplification.

The packages read as the method reads (arXiv 2604.05524): ``settings`` -> ``presets`` (the plan for a model
and a size) -> ``pruning`` (thresholds of the live weights) -> ``sampling`` (two passes, one mix).
Nothing here imports a WebUI or gradio; ``crdiff.webui`` alone does.
"""

__version__ = "1.0.0"
