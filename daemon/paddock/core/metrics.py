"""Metrics: numbers for Prometheus, and its text format, version 0.0.4.

Pure. Three kinds: a counter only grows, a gauge is set, a histogram counts what falls below each
bound. A family is rendered with its HELP and TYPE even before its first sample, so that a rule can
be written before anything went wrong. Names are base units with a unit suffix.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal, TypeAlias

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Kind = Literal["counter", "gauge", "histogram"]
Labels: TypeAlias = tuple[str, ...]

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


@dataclass(slots=True)
class Family:
    """A counter or a gauge: one value for each set of label values. Raises ValueError for a name
    that Prometheus does not take."""

    name: str
    kind: Kind
    help: str
    labels: Labels = ()
    values: dict[Labels, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(self.name, self.labels)
        if not self.labels:
            self.values.setdefault((), 0.0)

    def add(self, *labels: str, by: float = 1.0) -> None:
        """Adds to the value of these label values."""
        assert len(labels) == len(self.labels)
        self.values[labels] = self.values.get(labels, 0.0) + by

    def set(self, value: float, *labels: str) -> None:
        """Sets the value of these label values."""
        assert len(labels) == len(self.labels)
        self.values[labels] = value

    def replace(self, values: Mapping[Labels, float]) -> None:
        """Sets all values: what is not among them is gone."""
        self.values = dict(values)

    def lines(self) -> Iterator[str]:
        """The samples."""
        for labels, value in sorted(self.values.items()):
            yield _sample(self.name, zip(self.labels, labels, strict=True), value)


@dataclass(slots=True)
class Histogram:
    """How many observations fell below each of the ascending `bounds`, and their sum."""

    name: str
    help: str
    bounds: tuple[float, ...]
    kind: Kind = "histogram"
    sum: float = 0.0
    counts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        _check(self.name, ())
        assert list(self.bounds) == sorted(set(self.bounds))
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Counts one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self) -> Iterator[str]:
        """The samples: buckets add up, and the last one holds all."""
        totals = list(accumulate(self.counts))
        for bound, total in zip([*map(_number, self.bounds), "+Inf"], totals, strict=True):
            yield _sample(f"{self.name}_bucket", [("le", bound)], total)
        yield _sample(f"{self.name}_sum", (), self.sum)
        yield _sample(f"{self.name}_count", (), totals[-1])


def render(families: Iterable[Family | Histogram]) -> str:
    """The text that Prometheus reads: each family once, in the order given."""
    lines: list[str] = []
    for family in families:
        lines.append(f"# HELP {family.name} {_escape(family.help)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        lines.extend(family.lines())
    return "\n".join([*lines, ""])


def _check(name: str, labels: Labels) -> None:
    good = all(_LABEL.fullmatch(label) and not label.startswith("__") for label in labels)
    if not _NAME.fullmatch(name) or not good or len({*labels}) != len(labels):
        raise ValueError(f"{name} {labels}: not the name of a metric and its labels")


def _sample(name: str, labels: Iterable[tuple[str, str]], value: float) -> str:
    told = ",".join(f'{label}="{_quoted(text)}"' for label, text in labels)
    return f"{name}{{{told}}} {_number(value)}" if told else f"{name} {_number(value)}"


def _number(value: float) -> str:
    if value in {float("inf"), float("-inf")}:
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escape(text).replace('"', '\\"')
