"""The demo: a small text-to-image model, the scenes it draws, and a WebUI to watch it in."""

import sys
from pathlib import Path

# The stand-in WebUI is an import root of its own, as a host's folder is; its networks are what is trained here.
_WEBUI = str(Path(__file__).resolve().parent / "webui")
if _WEBUI not in sys.path:
    sys.path.insert(0, _WEBUI)
