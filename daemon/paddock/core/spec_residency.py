"""The keys of models.yaml about memory: windows of time, what clients may ask for, the limit.

Owns their shape and values; what is nonsense between keys is for `core/spec_residency_check.py` to
say. A time zone is a name here: `edges/specfile` looks it up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import time
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema

from paddock.core.desired import Bounds
from paddock.core.keep_alive import FOREVER, UNLOAD, KeepAlive
from paddock.core.policy import length_s
from paddock.core.sizes import parse_size
from paddock.core.spec_hints import near_hint
from paddock.core.spec_values import KeepAliveValue, Strict

_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAYS = {name[:length]: n for n, name in enumerate(_NAMES) for length in (3, len(name))}
_SHORT = [name[:3] for name in _NAMES]
_WORDS = {"daily": range(7), "weekdays": range(5), "weekends": range(5, 7)}
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)", re.ASCII)
_KEEP_ALIVE = {"anyOf": [{"type": "string"}, {"type": "number"}]}
_CLIENTS_HINT = "write deny, allow or {min: 1m, max: 1h}"


def _days(value: object) -> frozenset[int]:
    parts = value if isinstance(value, list | tuple) else [value]
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) < len(parts):
        raise ValueError("must be days; write mon-fri, sat,sun, daily or a list of days")
    words = [word.strip() for text in texts for word in text.lower().split(",")]
    found = {day for word in words for day in _range(word)}
    if not found:
        raise ValueError("names no day; write mon-fri, sat,sun, daily or a list of days")
    return frozenset(found)


def _range(word: str) -> set[int]:
    """The days of `mon`, `mon-fri`, `fri-mon` or `daily`."""
    if word in _WORDS:
        return set(_WORDS[word])
    first, dash, last = (part.strip() for part in word.partition("-"))
    ends = [first, last] if dash else [first]
    for end in ends:
        if end not in _DAYS:
            hint = near_hint(end, [*_WORDS, *_SHORT]) or near_hint(end, [*_DAYS])
            hint = hint or "write mon, tue, … or a range as mon-fri"
            raise ValueError(f'"{end}" is not a day; {hint}')
    start = _DAYS[ends[0]]
    return {(start + n) % 7 for n in range((_DAYS[ends[-1]] - start) % 7 + 1)}


def _start(value: object) -> time:
    found = _CLOCK.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError('is not a time of day; write HH:MM, such as "08:00"')
    return time(int(found[1]), int(found[2]))


def _end(value: object) -> time:
    """24:00 is the midnight after the day."""
    return time(0) if isinstance(value, str) and value.strip() == "24:00" else _start(value)


def _clients(value: object) -> Literal["deny", "allow"] | Bounds:
    match value:
        case "deny" | "allow":
            return value
        case str():
            hint = near_hint(value, ["deny", "allow"]) or _CLIENTS_HINT
            raise ValueError(f"is neither deny nor allow nor bounds; {hint}")
        case Mapping():
            return _bounds(value)
        case _:
            raise ValueError(f"must be deny, allow or bounds; {_CLIENTS_HINT}")


def _bounds(value: Mapping[str, Any]) -> Bounds:
    for key in value.keys() - {"min", "max"}:
        raise ValueError(f"{key} is no bound; {_CLIENTS_HINT}")
    if not value:
        raise ValueError(f"gives no bound; {_CLIENTS_HINT}")
    least = _bound("min", value["min"]) if "min" in value else UNLOAD
    most = _bound("max", value["max"]) if "max" in value else FOREVER
    if length_s(least) > length_s(most):
        raise ValueError(f"min, {least}, is longer than max, {most}; exchange them")
    return Bounds(least, most)


def _bound(key: str, value: object) -> KeepAlive:
    try:
        return KeepAlive.parse(value)
    except ValueError as error:
        raise ValueError(f"{key} {error}") from error


def _limit(value: object) -> int:
    found = parse_size(value)
    if found <= 0:
        raise ValueError("leaves no memory for any model; write a size such as 20GiB")
    return found


def _zone(text: str) -> str:
    if not text.strip() or text.startswith(("/", ".")) or ".." in text:
        raise ValueError("is not the name of a time zone; write one such as Europe/Paris")
    return text


DaysValue: TypeAlias = Annotated[
    frozenset[int], PlainValidator(_days, json_schema_input_type=str | list[str])
]
StartValue: TypeAlias = Annotated[time, PlainValidator(_start, json_schema_input_type=str)]
EndValue: TypeAlias = Annotated[time, PlainValidator(_end, json_schema_input_type=str)]
SizeValue: TypeAlias = Annotated[int, PlainValidator(_limit, json_schema_input_type=str | int)]
ClientsValue: TypeAlias = Annotated[
    Literal["deny", "allow"] | Bounds,
    PlainValidator(_clients),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["deny", "allow"]},
                {
                    "type": "object",
                    "properties": {"min": _KEEP_ALIVE, "max": _KEEP_ALIVE},
                    "additionalProperties": False,
                    "minProperties": 1,
                },
            ]
        }
    ),
]


class WindowSpec(Strict):
    """A time of the week in which another preload or keep_alive holds."""

    days: DaysValue = Field(
        frozenset(range(7)),
        description="Days on which it opens: mon-fri, sat,sun, daily, or a list of days.",
        json_schema_extra={"default": "daily"},
    )
    start: StartValue = Field(
        alias="from", description="When it opens, by the clock of the time zone: 08:00."
    )
    end: EndValue = Field(
        alias="to",
        description="When it closes: 19:00; 24:00 is midnight; at or before from, the next day.",
    )
    preload: bool | None = Field(None, description="Whether the model is loaded while it is open.")
    keep_alive: KeepAliveValue | None = Field(
        None, description="How long the model stays in memory after use while it is open."
    )


Schedule: TypeAlias = Annotated[tuple[WindowSpec, ...], Field(strict=False)]


class ResidencySpec(Strict):
    """Memory of the host: how much of it models may take, and whose clock windows go by."""

    memory_limit: SizeValue | None = Field(
        None,
        description="What the loaded models may take together, such as 20GiB; the lowest priority "
        "yields. Models that the file does not name count, and are let be.",
    )
    timezone: Annotated[str, AfterValidator(_zone)] | None = Field(
        None, description="Time zone of schedules, such as Europe/Paris; the host's by default."
    )
