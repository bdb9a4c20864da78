"""`explain`: all that is known of one model, from the daemon, or else by looking."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from paddock.cli import views
from paddock.cli.daemon import ANSWER_S, daemon_socket, no_daemon
from paddock.cli.look import look_once
from paddock.cli.options import settings_of
from paddock.core.digest import short
from paddock.core.explain import Told, explain, find_name
from paddock.core.model_status import Cycle
from paddock.core.names import Name
from paddock.edges.daemon_client import get_json
from paddock.edges.specfile.declared import declared_at
from paddock.errors import PaddockError
from paddock.settings import Settings

Document = Mapping[str, Any]

_SHOWN_CHARS = 72
_GROUPS = ("actions", "waiting", "blocked", "suspended")


def run(options: argparse.Namespace) -> int:
    """Explain one model."""
    settings = settings_of(options)
    Name.parse(options.name)
    socket = daemon_socket(settings)
    document: Document
    if socket is not None:
        route = f"/paddock/explain?model={quote(options.name, safe='')}"
        document = get_json(socket, route, timeout_s=ANSWER_S)
    else:
        views.note(f"{no_daemon(settings)}: this is what can be seen without one")
        document = asyncio.run(_look(settings, options.name))
    views.show(document, text(document), options.output)
    return 0


async def _look(settings: Settings, name: str) -> Document:
    desired, observed, plan = await look_once(settings)
    cycle = Cycle(desired, observed.at, observed, plan)
    found = find_name(name, cycle)
    if found is None:
        what = f"{name} is neither declared in {desired.file} nor installed"
        raise PaddockError(f"{what}; paddock status shows what is declared", reason="NotDeclared")
    place = declared_at(Path(desired.file), os.environ, found)
    return explain(found, cycle, Told(declared_at=place))


def text(document: Document) -> str:
    """The document for people: a heading for each part, and a line for each fact."""
    parts = {
        "wanted": _wanted(document["wanted"], document["file"]),
        "found": _found(document["found"], document["at"]),
        "conditions": _conditions(document["conditions"]),
        "failure": _failure(document["failure"]),
        "next": _next(document["next"]),
        "events": _events(document["events"]),
    }
    lines = [f"{document['name']}: {_headline(document['conditions'])}"]
    for heading, rows in parts.items():
        told = views.table(_padded([*rows]))
        lines += ["", heading, *(f"  {line}" for line in told)] if told else []
    return "\n".join(lines)


def _headline(conditions: list[Document]) -> str:
    ready = next((c for c in conditions if c["type"] == "Ready"), None)
    if ready is None:
        return "not declared"
    return f"Ready {ready['status']}, {ready['reason']}: {ready['message']}"


def _wanted(wanted: Document | None, file: str) -> Iterator[tuple[str, ...]]:
    if wanted is None:
        yield "nothing", f"{file} does not name it"
        return
    yield "declared", wanted["declared_at"] or f"{file} (no line of it is its own)"
    yield ("state", "absent") if wanted["state"] == "absent" else ("source", wanted["source"])
    for part in ("overrides", "residency"):
        for key, value in wanted[part].items():
            yield key, _shown(value)
    if wanted["access"] is not None:
        yield "access", _shown(wanted["access"])
    if wanted["suspended"]:
        yield "suspend", "true"


def _found(found: Document | None, at: str) -> Iterator[tuple[str, ...]]:
    if found is None:
        yield "nothing", "it could not be looked at"
        return
    yield "looked at", at
    owner = "ours" if found["owned"] else "not ours: paddock adopt claims it"
    missing = "none: withdrawn until its source is back" if found["withdrawn"] else "none"
    digest = found["manifest"]
    yield "manifest", missing if digest is None else f"{short(digest)}, {owner}"
    for blob in found["blobs"]:
        size = views.human(blob["size_bytes"])
        yield blob["what"], f"{short(blob['digest'])}  {size}, {_blob(blob)}"
    running = found["running"]
    if running is None:
        yield "memory", "not loaded"
    else:
        expiry = running["expires_at"]
        until = "for ever" if expiry is None else f"until {expiry}"
        yield "memory", f"{views.human(running['size_bytes'])} as {running['as']}, {until}"


def _blob(blob: Document) -> str:
    match blob["kind"]:
        case "link":
            broken = "" if blob["readable"] else " (broken)"
            return f"a link to {blob['target']}{broken}"
        case "file":
            return "a file of the store"
        case _:
            return "missing"


def _conditions(conditions: list[Document]) -> Iterator[tuple[str, ...]]:
    for found in conditions:
        since = f"since {found['lastTransitionTime']}"
        yield found["type"], found["status"], found["reason"], since, found["message"]


def _failure(failure: Document | None) -> Iterator[tuple[str, ...]]:
    if failure is None:
        return
    yield failure["reason"], failure["message"]
    following = failure["next_at"]
    yield "attempts", str(failure["attempts"])
    yield "next", "not before something changes" if following is None else f"at {following}"


def _next(following: Document | None) -> Iterator[tuple[str, ...]]:
    if following is None:
        yield ("nothing could be planned",)
        return
    for group in _GROUPS:
        for found in following[group]:
            symbol = found.get("symbol") or {"blocked": "!"}.get(group, "-")
            what = found.get("action") or group
            yield symbol, what, found["reason"], found["message"]
    if not any(following[group] for group in _GROUPS):
        yield ("nothing to do",)


def _events(events: list[Document] | None) -> Iterator[tuple[str, ...]]:
    for event in events or ():
        yield event["at"], event["kind"], event["result"], event["reason"], event["message"]


def _shown(value: Any) -> str:
    told = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    line = " ".join(told.split())
    if len(line) <= _SHOWN_CHARS:
        return line
    return f"{line[:_SHOWN_CHARS]}… ({len(told)} characters)"


def _padded(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Rows of one length, the last cell of each at the end of its line."""
    width = max((len(row) for row in rows), default=0)
    return [(*row, *[""] * (width - len(row))) for row in rows]
