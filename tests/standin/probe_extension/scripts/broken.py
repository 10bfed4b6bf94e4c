"""A script that cannot be loaded; the host goes on without it."""

raise RuntimeError("this script is broken on purpose")
