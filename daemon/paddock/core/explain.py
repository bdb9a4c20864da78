"""Explain: all that is known of one model as a document: wanted, found, next, and what happened.

Pure. Decides nothing: it gathers what a cycle saw and planned. Models that nobody declared are
explained as well, as far as they are there.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from paddock.core.conditions import FORMAT_VERSION, Status, rfc3339
from paddock.core.desired import Bounds, DesiredModel, Residency, Window
from paddock.core.keep_alive import KeepAlive
from paddock.core.manifest import Manifest
from paddock.core.model_status import Cycle
from paddock.core.names import Name
from paddock.core.observed import LinkBlob, RegularBlob, Running, Unknown
from paddock.core.outcome import Failure
from paddock.core.plan_json import plan_to_json
from paddock.core.policy import window_words
from paddock.core.source_status import describe
from paddock.core.summarize import summarize
from paddock.core.view import View, view_of

Document = Mapping[str, Any]

MAX_TOLD = 10


@dataclass(frozen=True, slots=True)
class Told:
    """What is explained beside a cycle: the daemon's dated `status` and its `events` (None: there
    is no daemon), and where the model is declared."""

    status: Status | None = None
    events: Sequence[Document] | None = None
    declared_at: str | None = None


def find_name(text: str, cycle: Cycle) -> Name | None:
    """The model that people name, in any case: declared, installed or ours; None for no such one.
    Raises InvalidName."""
    wanted = Name.parse(text)
    view = None if cycle.observed is None else view_of(cycle.observed)
    known = list(cycle.desired.models)
    if isinstance(view, View):
        known += [*view.manifests, *view.ledger.owned, *view.ledger.paused]
    return next((name for name in known if name.folded == wanted.folded), None)


def explain(name: Name, cycle: Cycle, told: Told) -> dict[str, Any]:
    """The JSON of one model."""
    status = told.status or summarize(cycle)
    model, failure = cycle.desired.models.get(name), cycle.failures.get(name)
    found = status.model(name.display)
    return {
        "format_version": FORMAT_VERSION,
        "file": cycle.desired.file,
        "generation": cycle.desired.generation,
        "at": rfc3339(cycle.at),
        "name": name.display,
        "wanted": None if model is None else _wanted(model, told.declared_at),
        "found": _found(name, cycle),
        "conditions": [] if found is None else [c.to_json() for c in found.conditions],
        "failure": None if failure is None else _failure(failure),
        "next": _next(name, cycle),
        "events": None if told.events is None else _events(name, told.events),
    }


def _wanted(model: DesiredModel, declared_at: str | None) -> Document:
    return {
        "declared_at": declared_at,
        "state": model.state.value,
        "source": describe(model.source),
        "overrides": _plain(model.overrides),
        "residency": _residency(model.residency),
        "access": None if model.access is None else _plain(model.access),
        "suspended": model.suspended,
    }


def _residency(residency: Residency) -> Document:
    told: dict[str, Any] = _plain(residency)
    return told if residency.priority else {k: v for k, v in told.items() if k != "priority"}


def _plain(value: object) -> Any:
    """A noun as JSON, without the fields that say nothing."""
    match value:
        case KeepAlive() | Name() | Window() | Bounds():
            return _words(value)
        case enum.Enum():
            return value.value
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case tuple() | list() | frozenset():
            return [_plain(item) for item in value]
        case _ if is_dataclass(value):
            told = {part.name: getattr(value, part.name) for part in fields(value)}
            return {key: _plain(item) for key, item in told.items() if item not in (None, (), {})}
        case _:
            return value if isinstance(value, str | int | float | None) else str(value)


def _words(value: KeepAlive | Name | Window | Bounds) -> str:
    match value:
        case Window():
            return window_words(value)
        case Bounds():
            return f"{value.least.display} to {value.most.display}"
        case _:
            return value.display


def _found(name: Name, cycle: Cycle) -> Document | None:
    """What is there; None where nobody could look."""
    view = None if cycle.observed is None else view_of(cycle.observed)
    if not isinstance(view, View):
        return None
    there, manifest = view.manifests.get(name), view.manifest(name)
    return {
        "ollama": view.observed.version,
        "manifest": None if there is None else there.digest,
        "owned": name in view.ledger.owned,
        "paused": name.folded in {paused.folded for paused in view.ledger.paused},
        "withdrawn": name in view.ledger.withdrawn,
        "blobs": [] if manifest is None else list(_blobs(manifest, view)),
        "running": _running(manifest, view),
    }


def _blobs(manifest: Manifest, view: View) -> Iterator[Document]:
    parts = [*manifest.layers, *([] if manifest.config is None else [manifest.config])]
    for part in parts:
        blob = view.blobs.get(part.digest)
        kind = {LinkBlob: "link", RegularBlob: "file"}.get(type(blob), "missing")
        yield {
            "what": _what(part.media_type),
            "digest": part.digest,
            "size_bytes": part.size_bytes,
            "kind": kind,
            "target": blob.target if isinstance(blob, LinkBlob) else None,
            "readable": view.has(part.digest),
            "made_by_paddock": part.digest in view.ledger.blobs,
        }


def _what(media_type: str) -> str:
    """A layer's kind in a word: model, template, config…"""
    tail = media_type.partition("+")[0].rpartition(".")[2]
    return "config" if media_type.startswith("application/vnd.docker.") else tail


def _running(manifest: Manifest | None, view: View) -> Document | None:
    """The runner of the model's GGUF, whatever the name it was loaded by."""
    running = view.observed.running
    digest = None if manifest is None else manifest.model_digest
    if isinstance(running, Unknown) or digest is None:
        return None
    found: Running | None = next((r for r in running if view.runner_digest(r) == digest), None)
    if found is None:
        return None
    expires_at = found.expires_at
    return {
        "as": found.name.display,
        "size_bytes": found.size_bytes,
        "num_ctx": found.num_ctx,
        "alive": found.alive,
        "expires_at": None if expires_at is None else rfc3339(expires_at),
    }


def _failure(failure: Failure) -> Document:
    return {
        "reason": failure.reason,
        "message": " ".join(failure.message.split()),
        "attempts": failure.attempts,
        "next_at": None if failure.next_at is None else rfc3339(failure.next_at),
    }


def _next(name: Name, cycle: Cycle) -> Document | None:
    """The part of the plan that is about the model; None where nothing could be planned."""
    if cycle.plan is None:
        return None
    plan = plan_to_json(cycle.plan)
    parts = ("actions", "waiting", "blocked", "suspended")
    return {part: [it for it in plan[part] if it["name"] == name.display] for part in parts}


def _events(name: Name, events: Sequence[Document]) -> list[Document]:
    """The last ones; how far an action is, its end says better."""
    mine = [e for e in events if e["model"] == name.display and e["result"] != "progress"]
    return mine[-MAX_TOLD:]
