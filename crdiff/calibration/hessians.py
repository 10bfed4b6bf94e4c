"""What a calibration may keep of Hessians."""

from __future__ import annotations

NO_HESSIANS, DIAGONALS, WHOLE = "none", "diagonals", "whole"
HESSIANS = (NO_HESSIANS, DIAGONALS, WHOLE)
"""Nothing, the diagonals of their inverses, or all of them as well."""
