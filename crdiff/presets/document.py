"""Reading of JSON documents whose every fault is one sentence that names the file and the key."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from dataclasses import dataclass
from typing import NoReturn

from crdiff import checks
from crdiff.errors import PresetError
from crdiff.presets.names import check_name

NOTE_LIMIT = 500
LINE_LIMIT = 300
_SHOWN = 60


@dataclass(frozen=True)
class Value:
    """One value of a JSON document together with the place it stands at."""

    content: object
    key: str
    file: str = ""

    def fault(self, demand: str) -> PresetError:
        """The error that this value does not meet ``demand``, a phrase such as "must be text"."""
        return self.refusal(f"{demand}, not {_shown(self.content)}")

    def refusal(self, phrase: str) -> PresetError:
        """The error whose sentence is the file, the key and ``phrase``."""
        prefix = f"{self.file}: " if self.file else ""
        sentence = f"{prefix}{self.key} {phrase}."
        return PresetError(sentence if self.file else sentence[0].upper() + sentence[1:])

    def entries(
        self, required: tuple[str, ...], optional: tuple[str, ...] = (), *, others: bool = False
    ) -> dict[str, Value]:
        """The members of a JSON object that has all ``required`` keys.

        Args:
            required: keys.
            optional: further keys it may have.
            others: whether it may have any others.
        """
        if not isinstance(self.content, dict):
            raise self.fault("must be a JSON object")
        for name in self.content:
            if name not in required and name not in optional and not others:
                raise self.refusal(f"has the unknown key {_shown(name)}")
        for name in required:
            if name not in self.content:
                raise self.refusal(f"lacks the key {name!r}")
        stem = "" if self.key == _TOP else f"{self.key}."
        return {name: Value(content, f"{stem}{name}", self.file) for name, content in self.content.items()}

    def items(self, at_least: int = 0) -> list[Value]:
        """The elements of a JSON array of ``at_least`` or more."""
        if not isinstance(self.content, list):
            raise self.fault("must be a JSON array")
        if len(self.content) < at_least:
            raise self.refusal("must not be empty")
        return [Value(content, f"{self.key}[{place}]", self.file) for place, content in enumerate(self.content)]

    def number(self, low: float, high: float, high_allowed: bool) -> float:
        """A finite number in [low, high], or in [low, high) unless ``high_allowed``."""
        number = self.content
        span = f"must be a number in [{low:g}, {high:g}{']' if high_allowed else ')'}"
        if not checks.is_number(number):
            raise self.fault(span)
        # NaN fails every comparison; integers too large for a float are compared before they are converted.
        if not (low <= number < high or (high_allowed and number == high)):
            raise self.fault(span)
        return float(number) + 0.0  # -0.0 becomes 0.0, which means the same

    def flag(self) -> bool:
        """A JSON boolean."""
        if not isinstance(self.content, bool):
            raise self.fault("must be true or false")
        return self.content

    def line(self, limit: int = LINE_LIMIT) -> str:
        """Text of 1 to ``limit`` characters without control characters."""
        text = self.note(limit)
        if not text or "\n" in text or "\t" in text:
            raise self.fault(f"must be one line of 1 to {limit} characters")
        return text

    def note(self, limit: int = NOTE_LIMIT) -> str:
        """Text of at most ``limit`` characters; line breaks and tabs are its only control characters."""
        text = self.content
        if not isinstance(text, str):
            raise self.fault("must be text")
        if len(text) > limit:
            raise self.refusal(f"must have at most {limit} characters, not {len(text)}")
        for character in text:
            if unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t":
                raise self.refusal(f"must not contain the character {character!r}")
        return text

    def name(self) -> str:
        """A preset name (see check_name)."""
        return check_name(self.content, f"{self.file}: {self.key}" if self.file else self.key.capitalize())

    def sha256(self) -> str:
        """A SHA-256 in 64 lower-case hexadecimal digits."""
        if not isinstance(self.content, str) or re.fullmatch(r"[0-9a-f]{64}", self.content) is None:
            raise self.fault("must be a SHA-256 of 64 lower-case hexadecimal digits")
        return self.content


_TOP = "the document"


def parse_document(data: bytes | str, file: str) -> Value:
    """The JSON document in ``data``; ``file`` is the name its faults are reported under.

    Stricter than the json module: NaN and Infinity are no JSON, and a key given twice is a fault.

    Raises:
        PresetError: not UTF-8, or not JSON.
    """

    def refuse_constant(constant: str) -> NoReturn:
        raise PresetError(f"{file}: {constant} is not a JSON number.")

    def finite(number: str) -> float:
        if math.isinf(float(number)):
            raise PresetError(f"{file}: {number[:_SHOWN]} is too large a number.")
        return float(number)

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        entries = dict(pairs)
        if len(entries) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise PresetError(f"{file}: the key {_shown(twice)} is given twice.")
        return entries

    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data.removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise PresetError(f"{file}: the file is not UTF-8 text (byte {error.start}).") from None
    try:
        content = json.loads(text, parse_constant=refuse_constant, parse_float=finite, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise PresetError(f"{file}: line {error.lineno} is not valid JSON ({error.msg}).") from None
    except PresetError:
        raise
    except (ValueError, RecursionError):
        # The interpreter refuses integers of thousands of digits and nesting beyond its stack.
        raise PresetError(f"{file}: the file holds a number or a nesting too large to read.") from None
    return Value(content, _TOP, file)


def _shown(content: object) -> str:
    if isinstance(content, (dict, list)):
        return "an object" if isinstance(content, dict) else "an array"
    if content is None or isinstance(content, bool):
        return {None: "null", True: "true", False: "false"}[content]
    if isinstance(content, int) and abs(content) >= 10**_SHOWN:
        return "a number of more than 60 digits"
    text = repr(content)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
