"""What the probe has seen. A package outlives a reload of the UI; the script that writes here does not."""

import sys

events = []
found = {"path_at_import": list(sys.path)}
# What the next job is to do: the name of a hook mapped to a function of (p, arguments).
actions = {}


def clear():
    events.clear()
    actions.clear()


def note(name, *details):
    events.append((name, *details))
