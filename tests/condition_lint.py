"""What every Status holds to: Kubernetes' conventions for conditions, and our own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from paddock.core.conditions import Condition, Status

HOST = ("Ready", "Reconciling", "Stalled", "OllamaReachable")
# The host's own, while there is something to tell.
AT_TIMES = frozenset({"Published", "Watched", "LedgerIntact", "ServerRunning"})
PRESENT = (
    "Ready",
    "Reconciling",
    "Stalled",
    "SourceAvailable",
    "BlobsPresent",
    "ManifestCurrent",
    "Loaded",
)
ABSENT = ("Ready", "Reconciling", "Stalled", "ManifestCurrent")
ALONE = "Suspended"
# What is True only while something is not as it should be; all others are True when all is well.
ABNORMAL = frozenset({"Reconciling", "Stalled"})
_REASON = re.compile(r"[A-Z][A-Za-z0-9]*")


def lint(status: Status, now: datetime) -> list[str]:
    """The conventions that a status breaks, one line each."""
    usual = tuple(found for found in status.conditions if found.type not in AT_TIMES)
    found = [f"host: {problem}" for problem in _all(usual, now, [HOST])]
    for model in status.models:
        problems = _all(model.conditions, now, [PRESENT, ABSENT, *map(_alone, (PRESENT, ABSENT))])
        found += [f"{model.name}: {problem}" for problem in problems]
    awake = [m.conditions for m in status.models if not any(c.type == ALONE for c in m.conditions)]
    if status.ready and any(_ready(conditions) != "True" for conditions in awake):
        found.append("host: Ready, and a model is not")
    return found


def _alone(kinds: tuple[str, ...]) -> tuple[str, ...]:
    return (*kinds[:3], ALONE, *kinds[3:])


def _all(
    conditions: tuple[Condition, ...], now: datetime, kinds: list[tuple[str, ...]]
) -> Iterator[str]:
    if tuple(found.type for found in conditions) not in kinds:
        yield f"has the conditions {[found.type for found in conditions]}"
    for found in conditions:
        yield from _one(found, now)
    bad = [found for found in conditions if found.type in ABNORMAL and found.status == "True"]
    if bad and _ready(conditions) != "False":
        yield f"is Ready and {bad[0].type}"
    if len(bad) > 1 and len({found.reason for found in bad}) == 1:
        yield f"is Reconciling and Stalled for one reason, {bad[0].reason}"


def _one(found: Condition, now: datetime) -> Iterator[str]:
    where = found.type
    if not _REASON.fullmatch(found.reason):
        yield f"{where}: the reason {found.reason!r} is not CamelCase"
    if not found.message or len(found.message.splitlines()) != 1:
        yield f"{where}: the message {found.message!r} is not one line"
    if found.last_transition_time > now or found.last_transition_time.tzinfo is not UTC:
        yield f"{where}: changed at {found.last_transition_time}"
    if not found.observed_generation:
        yield f"{where}: has no generation"
    if found.type in ABNORMAL and found.status == "Unknown":
        yield f"{where}: is Unknown, and is computed"


def _ready(conditions: tuple[Condition, ...]) -> str:
    return next((found.status for found in conditions if found.type == "Ready"), "")
