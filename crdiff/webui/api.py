"""CR-Diff's own routes in the host's API."""

from __future__ import annotations

from typing import Any

from crdiff import __version__
from crdiff.json_schema import json_schema
from crdiff.presets.library import PresetLibrary
from crdiff.presets.table import Preset

_HOSTS_OWN = "/sdapi/v1/txt2img"


def hosts_route(app: Any) -> Any:
    """The host's own route for images, which is registered before the extensions'; None without ``--api``."""
    return next((route for route in app.routes if getattr(route, "path", None) == _HOSTS_OWN), None)


def guards(route: Any) -> dict[str, Any]:
    """What makes another route ask for the password that this one asks for, if any."""
    return {} if route is None else {"dependencies": list(route.dependencies)}


def add_routes(app: Any, library: PresetLibrary) -> None:
    """Register ``/crdiff/v1/*`` with the host's FastAPI app; they ask for the password of its API, if there is one."""
    guarded = guards(hosts_route(app))

    def version() -> dict[str, str]:
        return {"version": __version__}

    def presets() -> dict[str, Any]:
        return {"presets": [_entry(preset) for preset in library.presets()], "problems": list(library.problems())}

    app.add_api_route("/crdiff/v1/version", version, methods=["GET"], **guarded)
    app.add_api_route("/crdiff/v1/schema", json_schema, methods=["GET"], **guarded)
    app.add_api_route("/crdiff/v1/presets", presets, methods=["GET"], **guarded)


def _entry(preset: Preset) -> dict[str, Any]:
    return {
        "name": preset.name,
        "family": preset.family.value,
        "size": str(preset.size),
        "down": preset.ratios.down,
        "mid": preset.ratios.mid,
        "up": preset.ratios.up,
        "k": preset.k,
        "checkpoints": sorted(preset.checkpoints),
        "native": preset.native,
        "built_in": preset.built_in,
        "source": preset.source,
        "note": preset.note,
        "criterion": preset.criterion,
        **({} if preset.schedule.is_constant else {"stages": preset.schedule.to_json()}),
    }
