"""What the WebUI loads: the repository's root becomes importable, the rest is a package."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from demo.compare.script import CompareScript  # noqa: E402, F401
