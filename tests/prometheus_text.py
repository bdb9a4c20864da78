"""A strict reader of Prometheus' text format, version 0.0.4. What it refuses, promtool refuses.

Owns nothing. It knows the format from its description, not from the code under test.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_HELP = re.compile(r"# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (\S.*)")
_TYPE = re.compile(r"# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram)")
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
_UNIT = re.compile(r"_(milliseconds|ms|minutes|hours|kilobytes|mb|gb|count|sum|bucket)$")

Labels = tuple[tuple[str, str], ...]


@dataclass
class Metric:
    """One family: its kind, and its samples by name and labels."""

    kind: str
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)

    def value(self, **labels: str) -> float:
        """The one sample with these labels."""
        (found,) = [v for (_, mine), v in self.samples.items() if dict(mine) == labels]
        return found


def parse(text: str) -> dict[str, Metric]:
    """The families of a text. Raises AssertionError for what is not as it should be."""
    assert text.endswith("\n"), "the last line has no end"
    found: dict[str, Metric] = {}
    helped, name = "", ""
    for line in text.splitlines():
        if match := _HELP.fullmatch(line):
            helped = match[1]
        elif match := _TYPE.fullmatch(line):
            name = match[1]
            assert helped == name, f"{name} has no HELP"
            assert name not in found, f"{name} comes twice"
            assert not _UNIT.search(name.removesuffix("_total")), f"{name}: not a base unit"
            assert (match[2] == "counter") == name.endswith("_total"), f"{name}: _total or not"
            found[name] = Metric(match[2])
        else:
            assert name, f"no TYPE before {line}"
            _add(found[name], name, line)
    for family, metric in found.items():
        if metric.kind == "histogram":
            _check_histogram(family, metric)
    return found


def _add(metric: Metric, family: str, line: str) -> None:
    match = _SAMPLE.fullmatch(line)
    assert match, f"no sample: {line}"
    suffixes = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
    assert match[1] in {family + suffix for suffix in suffixes}, f"{line} below {family}"
    key = match[1], _labels(match[2] or "")
    assert key not in metric.samples, f"{line} comes twice"
    try:
        metric.samples[key] = float(match[3])
    except ValueError:
        raise AssertionError(f"no number: {line}") from None


def _labels(text: str) -> Labels:
    found, at = [], 0
    while at < len(text):
        match = _LABEL.match(text, at)
        assert match, f"no labels: {text}"
        plain = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], match[2])
        found.append((match[1], plain))
        at = match.end()
    assert len({label for label, _ in found}) == len(found), f"a label twice: {text}"
    return tuple(found)


def _check_histogram(family: str, metric: Metric) -> None:
    buckets = [v for (name, _), v in metric.samples.items() if name == f"{family}_bucket"]
    bounds = [
        float(dict(mine)["le"]) for (name, mine) in metric.samples if name.endswith("_bucket")
    ]
    assert bounds == sorted(bounds), f"{family}: buckets out of order"
    assert bounds[-1] == float("inf"), f"{family}: no +Inf"
    assert buckets == sorted(buckets), f"{family}: buckets do not add up"
    assert metric.samples[f"{family}_count", ()] == buckets[-1], f"{family}: not the count"
    assert (f"{family}_sum", ()) in metric.samples, f"{family}: no sum"
