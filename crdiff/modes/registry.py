"""The modes by name, in the order in which users see them."""

from __future__ import annotations

from crdiff.modes.balanced import Balanced
from crdiff.modes.batched import Batched
from crdiff.modes.exact import Exact
from crdiff.modes.fast import Fast
from crdiff.modes.mode import Mode

DEFAULT_MODE = Exact.name
MODES: dict[str, type[Mode]] = {mode.name: mode for mode in (Exact, Batched, Balanced, Fast)}
