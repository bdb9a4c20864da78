"""Takes out of what a client reads what does not exist for it: models that it has no access to, and
the scratch models of the header probe.

Pure: an answer of which nothing is taken comes back as the very bytes that Ollama sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from paddock.core.access import Peer, Policy, Sees
from paddock.core.names import SCRATCH_HOST

_LISTS = ("models", "data")
_NAMES = ("name", "model", "id")
_SYMBOLS = {"add": "+", "change": "~", "remove": "-", "blocked": "!"}
_BY_MODEL = ("models", "actions", "waiting", "blocked", "suspended", "outcomes")


def names_scratch(model: str) -> bool:
    """Says whether a client names a model of the scratch host."""
    name = model.lower()
    if SCRATCH_HOST not in name:
        return False
    name = name.strip().removeprefix("http://").removeprefix("https://")
    return name.startswith(f"{SCRATCH_HOST}/")


def without_hidden(body: bytes, policy: Policy, peer: Peer | None) -> bytes:
    """Gives one of Ollama's lists without what does not exist for a peer."""
    try:
        answer = json.loads(body)
    except ValueError:
        return body
    if not isinstance(answer, dict):
        return body
    shown = {
        key: [item for item in value if _is_shown(item, policy, peer)]
        if key in _LISTS and isinstance(value, list)
        else value
        for key, value in answer.items()
    }
    if shown == answer:
        return body
    return json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode()


def _is_shown(item: Any, policy: Policy, peer: Peer | None) -> bool:
    if not isinstance(item, dict):
        return True
    names = [str(item[key]) for key in _NAMES if key in item]
    remote = bool(item.get("remote_host") or item.get("remote_model"))
    return not any(map(names_scratch, names)) and all(
        policy.sees_listed(peer, name, remote=remote) for name in names
    )


def only_seen(document: Mapping[str, Any], sees: Sees) -> Mapping[str, Any]:
    """Gives a document of Paddock's own (status, plan, a cycle's end) without hidden models.

    The host's own conditions name models in their messages: then only their reasons are told.
    """
    hidden = _hidden_names(document, sees)
    if not hidden:
        return document
    seen = {key: _seen(key, value, hidden, sees) for key, value in document.items()}
    return seen | {"summary": _summary(seen)} if "summary" in seen else seen


def _hidden_names(document: Mapping[str, Any], sees: Sees) -> set[str]:
    lists = [document[key] for key in _BY_MODEL if isinstance(document.get(key), list)]
    names = {str(item["name"]) for items in lists for item in items}
    inner = document.get("status")
    more = _hidden_names(inner, sees) if isinstance(inner, Mapping) else set[str]()
    return {name for name in names if not sees(name)} | more


def _seen(key: str, value: Any, hidden: set[str], sees: Sees) -> Any:
    if key in _BY_MODEL:
        return [item for item in value if item["name"] not in hidden]
    if key == "conditions":
        return [{**condition, "message": condition["reason"]} for condition in value]
    return only_seen(value, sees) if key == "status" else value


def _summary(plan: Mapping[str, Any]) -> Mapping[str, int]:
    """Counts the models that are left, as a plan does: by what first happens to each."""
    planned = [*plan["waiting"], *plan["actions"]]
    symbols = {item["name"]: item["symbol"] for item in reversed(planned)}
    symbols |= {item["name"]: "!" for item in plan["blocked"]}
    found = list(symbols.values())
    return {word: found.count(symbol) for word, symbol in _SYMBOLS.items()}
