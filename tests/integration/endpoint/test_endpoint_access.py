"""Access: for a peer without it a model does not exist, in Ollama's own words."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from endpoints import CHAT, MODEL, Reply, Served, fetch, fetch_as, serving
from paddock.core.access import Grant, Policy
from paddock.core.names import Name
from real import RealOllama

OTHER, GROUP = 65534, 65533
ABSENT = "gone"  # as long as MODEL: the answers have one length
STREAMS = [
    "/api/chat",
    "/api/generate",
    "/api/embed",
    "/api/embeddings",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/messages",
]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
async def guarded(server: RealOllama, path: Path) -> AsyncIterator[Served]:
    """An endpoint on which only the members of one group may use the model."""
    path.parent.chmod(0o755)
    async with serving(path, server.url, mode=0o666) as endpoint:
        grant = Grant(gids=frozenset({GROUP}))
        endpoint.host.rules = Policy({Name.parse(MODEL).folded: grant})
        yield endpoint


def told(reply: Reply, model: str) -> tuple[Any, ...]:
    """An answer without the name that was asked for, and without what differs each time."""
    body = re.sub(rb"req_[0-9a-f]{24}", b"", reply.body).replace(model.encode(), b"NAME")
    names = sorted(name for name, _ in reply.head.headers)
    return reply.status, reply.head.reason, names, reply.head.content_type, body


def request_for(model: str) -> dict[str, Any]:
    return CHAT | {"model": model, "prompt": "x", "input": "x", "max_tokens": 1}


@pytest.mark.parametrize("path_", [*STREAMS, "/api/show"])
async def test_a_hidden_model_and_one_that_is_not_there_cannot_be_told_apart(
    server: RealOllama, guarded: Served, path_: str
) -> None:
    hidden, absent = [
        await fetch_as(guarded.path, "POST", path_, request_for(name), uid=OTHER)
        for name in (MODEL, ABSENT)
    ]
    assert hidden.status == 404
    assert told(hidden, MODEL) == told(absent, ABSENT)


async def test_a_hidden_model_is_not_found_by_its_path_however_it_is_written(
    server: RealOllama, guarded: Served
) -> None:
    absent = await fetch_as(guarded.path, "GET", f"/v1/models/{ABSENT}", uid=OTHER)
    for name in (MODEL, MODEL.upper(), f"{MODEL}:latest", f"%{ord(MODEL[0]):x}{MODEL[1:]}"):
        hidden = await fetch_as(guarded.path, "GET", f"/v1/models/{name}", uid=OTHER)
        assert hidden.status == 404
    hidden = await fetch_as(guarded.path, "GET", f"/v1/models/{MODEL}", uid=OTHER)
    assert told(hidden, MODEL) == told(absent, ABSENT)


async def test_lists_hold_only_what_a_peer_may_use(server: RealOllama, guarded: Served) -> None:
    server.generate(MODEL)
    for path_, key in (("/api/tags", "models"), ("/api/ps", "models"), ("/v1/models", "data")):
        assert (await fetch_as(guarded.path, "GET", path_, uid=OTHER)).json[key] == []
        mine = await fetch_as(guarded.path, "GET", path_, uid=OTHER, groups=[GROUP])
        assert len(mine.json[key]) == 1
        head = await fetch_as(guarded.path, "GET", path_, uid=OTHER)
        assert head.head.get(b"content-length") == b"%d" % len(head.body)


async def test_a_supplementary_group_gives_access(server: RealOllama, guarded: Served) -> None:
    reply = await fetch_as(
        guarded.path, "POST", "/api/show", {"model": MODEL}, uid=OTHER, groups=[1, GROUP]
    )
    assert reply.status == 200
    chat = CHAT | {"stream": False}
    reply = await fetch_as(guarded.path, "POST", "/api/chat", chat, uid=OTHER, groups=[GROUP])
    assert reply.json["done"] is True


async def test_more_groups_than_fit_are_looked_up_by_name(
    server: RealOllama, guarded: Served
) -> None:
    """The name service knows nobody with this uid, so that only its own group is left."""
    many = [*range(10_000, 10_300), GROUP]
    reply = await fetch_as(guarded.path, "GET", "/api/tags", uid=60_000, groups=many)
    assert (reply.status, reply.json["models"]) == (200, [])


async def test_root_passes_every_rule(server: RealOllama, guarded: Served) -> None:
    assert (await fetch(guarded.path, "POST", "/api/show", {"model": MODEL})).status == 200
    assert len((await fetch(guarded.path, "GET", "/api/tags")).json["models"]) == 1


async def test_status_and_events_do_not_name_a_hidden_model(
    server: RealOllama, guarded: Served
) -> None:
    guarded.host.models = [{"name": MODEL}, {"name": "other"}]
    seen = await fetch_as(guarded.path, "GET", "/paddock/status", uid=OTHER)
    assert seen.json["models"] == [{"name": "other"}]
    assert len((await fetch(guarded.path, "GET", "/paddock/status")).json["models"]) == 2
