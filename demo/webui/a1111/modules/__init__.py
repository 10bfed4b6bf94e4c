"""The host's package: this folder first, then what both hosts share.

Both parts are one package, so that a module has one identity, whichever folder it comes from.
"""

from __future__ import annotations

import sys
from pathlib import Path

_webui = Path(__file__).resolve().parents[2]
for _entry in (str(_webui), str(_webui / "a1111")):
    if _entry not in sys.path:
        sys.path.insert(0, _entry)

from common import config as _config  # noqa: E402
from common import kdiff as _kdiff  # noqa: E402, F401

if _config.current("a1111").flavour != "a1111":
    raise ImportError("this process runs the other host: one process holds one host")
__path__.append(str(_webui / "common" / "modules"))
