"""Search ratios for this prompt: the job in the host's queue, its controls, and what the page shows of it.

Nothing of ``crdiff.search`` and ``crdiff.scoring`` is imported before a search is asked for.
"""
