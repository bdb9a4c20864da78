"""Time zones: by the name that the file gives, else the host's own.

Reads the system's (or the tzdata package's) zone files, and where the host says its zone as systemd
does: TZ, then /etc/localtime. Where neither tells, it is UTC.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from paddock.core.spec_problems import Problem

LOCALTIME = Path("/etc/localtime")
_LOC = ("residency", "timezone")


def zone_of(
    name: str | None, env: Mapping[str, str], localtime: Path = LOCALTIME
) -> tzinfo | Problem:
    """The zone of a name; without one, the host's."""
    if name is None:
        return _local(env, localtime)
    if name == "UTC":
        return UTC
    found = _load(name)
    return _unknown(name) if found is None else found


def _load(name: str) -> tzinfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _unknown(name: str) -> Problem:
    known = available_timezones()
    if not known:
        what = "this machine has no data of time zones"
        return Problem(_LOC, what, "install the system's package tzdata, or write UTC")
    what = f"{name} is not a time zone"
    return Problem(_LOC, what, _near(name, known))


def _near(name: str, known: set[str]) -> str:
    """The zone that was meant, whatever the case, or by its city alone."""
    folded = {zone.lower(): zone for zone in sorted(known)}
    cities = {zone.rpartition("/")[2]: folded[zone] for zone in folded if "/" in zone}
    word = name.lower().replace(" ", "_")
    for words in (folded, cities):
        if near := difflib.get_close_matches(word, words, n=1):
            return f'did you mean "{words[near[0]]}"?'
    return "write one such as Europe/Paris"


def _local(env: Mapping[str, str], localtime: Path) -> tzinfo:
    named = _load(env["TZ"].removeprefix(":")) if env.get("TZ") else None
    if named is not None:
        return named
    target = os.path.realpath(localtime)
    _, marked, name = target.partition("/zoneinfo/")
    linked = _load(name) if marked else None
    if linked is not None:
        return linked
    try:
        with localtime.open("rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError):
        return UTC
