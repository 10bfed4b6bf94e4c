"""Whether CR-Diff helps a model at a size: the same prompts and seeds drawn in several ways, scored and compared.

It reads as ``python -m crdiff evaluate`` works: ``prompts`` and ``ways`` -> ``images``, the plan of what to draw ->
an ``engine``, which draws -> ``metrics`` -> ``record``, a journal and a folder -> ``results`` -> ``report``.
"""
