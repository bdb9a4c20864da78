"""keep_alive: how long Ollama keeps a model in memory after its last use.

Owns reading it as people write it (Ollama's own forms, and those that Ollama answers with 400),
and the JSON number that Paddock sends. The rules are those of `ollama:api/types.go` Duration.
Never tells the time: when a model leaves memory is for `core/residency.py` to say.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field, replace
from fractions import Fraction

_SECOND_NS = 1_000_000_000
_YEAR_S = 365 * 24 * 3600
_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # Go takes the micro sign and the Greek letter
    "μs": 1_000,
    "ms": 1_000_000,
    "s": _SECOND_NS,
    "m": 60 * _SECOND_NS,
    "h": 3600 * _SECOND_NS,
}
_MAX_NS = 2**63 // _SECOND_NS * _SECOND_NS  # the last whole second that fits Go's int64
_MAX_CHARS = 64
# What counts as for ever, and how Ollama counts it: 292 years.
LASTING_S, _FOREVER_S = 100 * _YEAR_S, _MAX_NS // _SECOND_NS
_NUMBER = r"(?:\d+\.?\d*|\.\d+)"
_TERM = re.compile(rf"({_NUMBER})(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_DURATION = re.compile(rf"([-+]?)((?:{_TERM.pattern})+)", re.ASCII)
_PLAIN = re.compile(rf"([-+]?)({_NUMBER})", re.ASCII)
_EXAMPLES = "write 5m, 1h30m, a number of seconds, 0 or forever"


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """A time in seconds, at most 292 years; 0 unloads at once, None keeps the model for ever.

    Of what stays for ever Ollama puts out the shortest keep_alive first, where it needs the room
    (ollama:server/sched.go ByDurationAndName): so what has priorities `above` its own gets a year
    less for each."""

    seconds: float | None
    above: int = field(default=0, compare=False)

    @classmethod
    def parse(cls, value: object) -> KeepAlive:
        """Reads `5m`, `1h30m`, `forever`, or seconds as a number, quoted or not.

        Anything below zero is for ever, as Ollama reads it. Raises ValueError with one sentence.
        """
        match value:
            case bool() | None:
                raise ValueError(f"must be a time, not {json.dumps(value)}; {_EXAMPLES}")
            case int() | float():
                return _from_number(value)
            case str():
                return _from_text(value)
            case _:
                raise ValueError(f"must be a time; {_EXAMPLES}")

    @property
    def is_forever(self) -> bool:
        """Whether the model stays until somebody unloads it."""
        return self.seconds is None

    @property
    def is_unload(self) -> bool:
        """Whether the model leaves memory as soon as nobody uses it."""
        return self.seconds == 0

    @property
    def wire(self) -> int | float:
        """The JSON number for Ollama: seconds, or -1 for ever (a quoted "-1" would be a 400)."""
        if self.seconds is None:
            return self._forever_s if self.above else -1
        return int(self.seconds) if self.seconds.is_integer() else self.seconds

    def below(self, above: int) -> KeepAlive:
        """The same for a model that so many priorities of the file come before."""
        return replace(self, above=above) if self.is_forever else self

    def is_shown(self, left_s: float) -> bool:
        """Whether a runner with so many seconds left, which stays for ever, goes in its turn."""
        return self.is_forever and abs(left_s - self._forever_s) < _YEAR_S / 2

    @property
    def _forever_s(self) -> int:
        return max(_FOREVER_S - self.above * _YEAR_S, LASTING_S + _YEAR_S)

    @property
    def display(self) -> str:
        """The time for people: `for ever`, `5m`, `1h30m`, `300ms`, `0 (unload after use)`."""
        if self.seconds is None:
            return "for ever"
        if self.seconds == 0:
            return "0 (unload after use)"
        # By its decimal digits: a float of years has no room for nanoseconds.
        return _go_text(round(Fraction(repr(self.seconds)) * _SECOND_NS))

    def __str__(self) -> str:
        return self.display


FOREVER = KeepAlive(None)
UNLOAD = KeepAlive(0.0)


def _from_number(value: float) -> KeepAlive:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"must be a finite number of seconds; {_EXAMPLES}")
    return _of_ns(Fraction(value) * _SECOND_NS)


def _from_text(text: str) -> KeepAlive:
    word = text.strip()
    if word.lower() == "forever":
        return FOREVER
    if len(word) <= _MAX_CHARS:
        if plain := _PLAIN.fullmatch(word):
            return _of_ns(_signed(plain[1], Fraction(plain[2].rstrip(".")) * _SECOND_NS))
        if found := _DURATION.fullmatch(word):
            terms = _TERM.findall(found[2])
            return _of_ns(_signed(found[1], sum(map(_term_ns, terms), Fraction())))
    raise ValueError(f"{json.dumps(text[:_MAX_CHARS])} is not a time; {_EXAMPLES}")


def _term_ns(term: tuple[str, str]) -> Fraction:
    number, unit = term
    return Fraction(number.rstrip(".")) * _UNITS_NS[unit]


def _signed(sign: str, ns: Fraction) -> Fraction:
    return -ns if sign == "-" else ns


def _of_ns(ns: Fraction) -> KeepAlive:
    """Ollama counts in whole nanoseconds of 63 bits, and a longer time would unload at once."""
    if ns < 0:
        return FOREVER
    if ns > _MAX_NS:
        raise ValueError("is longer than 292 years; write forever")
    return KeepAlive(int(ns) / _SECOND_NS)


def _go_text(ns: int) -> str:
    if ns < _SECOND_NS:
        unit = next(unit for unit in ("ms", "us", "ns") if ns >= _UNITS_NS[unit])
        return f"{_decimal(Fraction(ns, _UNITS_NS[unit]))}{unit}"
    minutes, rest = divmod(ns, 60 * _SECOND_NS)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours}h" if hours else "", f"{minutes}m" if minutes else ""]
    parts.append(f"{_decimal(Fraction(rest, _SECOND_NS))}s" if rest else "")
    return "".join(parts)


def _decimal(value: Fraction) -> str:
    return f"{float(value):.9f}".rstrip("0").rstrip(".")
