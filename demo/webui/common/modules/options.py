"""The settings: labels with defaults, and the values that were set."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from modules import errors


@dataclass
class OptionInfo:
    """The arguments are the hosts', in their order; those that only a richer settings page reads are not looked at."""

    default: Any = None
    label: str = ""
    component: Any = None
    component_args: Any = None
    onchange: Any = None
    section: tuple | None = None
    refresh: Any = None
    comment_after: str = ""
    infotext: str | None = None
    restrict_api: bool = False

    def __post_init__(self) -> None:
        self.section = self.section or (None, "Other")

    def info(self, info: str) -> OptionInfo:
        self.comment_after += f"<span class='info'>({info})</span>"
        return self


def options_section(section_identifier: tuple, options_dict: dict[str, OptionInfo]) -> dict[str, OptionInfo]:
    for info in options_dict.values():
        info.section = section_identifier[:2]
    return options_dict


_FIELDS = {"data_labels", "data"}


class Options:
    """``opts.key`` reads the set value or the default. After loading a missing file nothing counts as set."""

    def __init__(self, data_labels: dict[str, OptionInfo]) -> None:
        self.data_labels = data_labels
        self.data = {k: v.default for k, v in data_labels.items()}

    def __setattr__(self, key: str, value: Any) -> None:
        if key in _FIELDS:
            object.__setattr__(self, key, value)
        elif key in self.data or key in self.data_labels:
            self.data[key] = value
        else:
            object.__setattr__(self, key, value)

    def __getattr__(self, item: str) -> Any:
        if item in _FIELDS:
            raise AttributeError(item)
        if item in self.data:
            return self.data[item]
        if item in self.data_labels:
            return self.data_labels[item].default
        raise AttributeError(f"'Options' object has no attribute '{item}'")

    def set(self, key: str, value: Any, is_api: bool = False, run_callbacks: bool = True) -> bool:
        """Sets an option and calls its onchange; True if the value changed."""
        old = self.data.get(key, None)
        if old == value:
            return False
        option = self.data_labels[key]
        if is_api and option.restrict_api:
            return False
        setattr(self, key, value)
        if run_callbacks and option.onchange is not None:
            try:
                option.onchange()
            except Exception as e:
                errors.display(e, f"changing setting {key} to {value}")
                setattr(self, key, old)
                return False
        return True

    def add_option(self, key: str, info: OptionInfo) -> None:
        self.data_labels[key] = info
        if key not in self.data:
            self.data[key] = info.default

    def onchange(self, key: str, func: Any, call: bool = True) -> None:
        self.data_labels[key].onchange = func
        if call:
            func()

    def load(self, filename: str) -> None:
        try:
            with open(filename, encoding="utf8") as file:
                self.data = json.load(file)
        except FileNotFoundError:
            self.data = {}

    def save(self, filename: str) -> None:
        with open(filename, "w", encoding="utf8") as file:
            json.dump(self.data, file, indent=4, ensure_ascii=False)

    def cast_value(self, key: str, value: Any) -> Any:
        """Brings a value (of an infotext, say) to the type of the setting."""
        if value is None:
            return None
        default = self.data_labels[key].default
        if default is None:
            default = getattr(self, key, None)
        if default is None:
            return None
        if isinstance(default, bool) and value == "False":
            return False
        return type(default)(value)

    def dumpjson(self) -> str:
        return json.dumps({k: self.data.get(k, v.default) for k, v in self.data_labels.items()}, default=str)

    def reorder(self) -> None:
        """Settings of one section together, sections in order of their names."""
        ordered = sorted(self.data_labels.items(), key=lambda item: str(item[1].section[1]))
        items = dict(ordered)
        self.data_labels.clear()
        self.data_labels.update(items)
