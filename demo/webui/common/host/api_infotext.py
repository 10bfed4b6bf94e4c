"""The API's ``infotext`` field: fills what the request leaves open from the text of an earlier image."""

from __future__ import annotations

from typing import Any


def _value(field: Any, params: dict, request: Any) -> Any:
    value = field.function(params) if field.function else params.get(field.label)
    if isinstance(value, dict) and value.get("__type__") in ("generic_update", "update"):
        value = value.get("value")
    if value is None:
        return None
    sample = getattr(request, field.api, None) if field.api else None
    if sample is None:
        sample = getattr(field.component, "value", None)
    kind = type(sample)
    if sample is None or isinstance(value, kind):
        return value
    return value == "True" if kind is bool and isinstance(value, str) else kind(value)


def apply_infotext(request: Any, tabname: str, *, script_runner: Any = None,
                   mentioned_script_args: dict[int, Any] | None = None) -> dict:
    """Fields set in the request win. Script arguments found in the text go to ``mentioned_script_args``."""
    if not request.infotext:
        return {}
    from modules import infotext_utils

    fields = (infotext_utils.paste_fields.get(tabname) or {}).get("fields") or []
    given = request.dict(exclude_unset=True)
    params = infotext_utils.parse_generation_parameters(request.infotext)
    for field in fields:
        name = getattr(field, "api", None)
        if name and name not in given and hasattr(request, name):
            value = _value(field, params, request)
            if value is not None:
                setattr(request, name, value)
    if request.override_settings is None:
        request.override_settings = {}
    get_overrides = getattr(infotext_utils, "get_override_settings", None)
    for _name, setting, value in get_overrides(params) if get_overrides else []:
        request.override_settings.setdefault(setting, value)
    if script_runner is not None and mentioned_script_args is not None:
        places = {id(component): i for i, component in enumerate(script_runner.inputs) if component is not None}
        for field in fields:
            index = places.get(id(field.component))
            value = _value(field, params, request) if index is not None else None
            if value is not None:
                mentioned_script_args[index] = value
    return params
