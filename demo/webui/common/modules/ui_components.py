"""The hosts' own components."""

from common.ui_components import *  # noqa: F403
