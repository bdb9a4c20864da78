"""Reads and control: what Ollama says byte for byte, and what Paddock says itself."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from endpoints import (
    MODEL,
    Served,
    fetch,
    serving,
)
from real import RealOllama


@pytest.mark.parametrize("path_", ["/", "/api/version", "/api/tags", "/v1/models"])
async def test_reads_are_passed_through_byte_for_byte_and_head_is_like_get(
    server: RealOllama, served: Served, path_: str
) -> None:
    ours = await fetch(served.path, "GET", path_)
    theirs = await fetch(server.host, "GET", path_)
    assert ours.body == theirs.body
    assert ours.head.content_type == theirs.head.content_type
    head = await fetch(served.path, "HEAD", path_)
    assert (head.status, head.head.get(b"content-length")) == (200, b"%d" % len(ours.body))


async def test_show_and_one_model_are_passed_through(server: RealOllama, served: Served) -> None:
    for method, path_, body in (
        ("POST", "/api/show", {"model": MODEL}),
        ("POST", "/api/show", {"NAME": MODEL}),
        ("GET", f"/v1/models/{MODEL}", b""),
        ("GET", "/v1/models/nobody", b""),
    ):
        ours = await fetch(served.path, method, path_, body)
        theirs = await fetch(server.host, method, path_, body)
        assert (ours.status, ours.body) == (theirs.status, theirs.body)


async def test_the_models_of_a_probe_are_not_seen(server: RealOllama, served: Served) -> None:
    scratch = "paddock.invalid/probe/0123456789abcdef"
    server.cli("cp", MODEL, scratch)
    try:
        assert f"{scratch}:latest" in server.tags()
        tags = (await fetch(served.path, "GET", "/api/tags")).json["models"]
        assert [model["name"] for model in tags] == [f"{MODEL}:latest"]
        listed = (await fetch(served.path, "GET", "/v1/models")).json["data"]
        assert [model["id"] for model in listed] == [f"{MODEL}:latest"]
        for path_ in ("/api/show", "/api/chat"):
            reply = await fetch(served.path, "POST", path_, {"model": scratch.upper()})
            assert reply.status == 404
    finally:
        server.cli("rm", scratch)


async def test_control_routes_give_what_the_host_says(served: Served) -> None:
    assert (await fetch(served.path, "GET", "/paddock/status")).json["format_version"] == 1
    assert (await fetch(served.path, "GET", "/paddock/plan")).status == 503
    done = await fetch(served.path, "POST", "/paddock/reconcile")
    assert done.json == {"outcomes": [], "status": {"format_version": 1, "models": []}}
    assert (await fetch(served.path, "GET", "/paddock/plan")).json["actions"] == []
    assert (await fetch(served.path, "GET", "/healthz")).json == {"status": "ok"}
    served.host.is_ready = False
    reply = await fetch(served.path, "GET", "/readyz")
    assert (reply.status, reply.json["message"]) == (503, "the first cycle is not done")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_another_user_reads_but_asks_for_no_cycle(server: RealOllama, path: Path) -> None:
    path.parent.chmod(0o755)
    async with serving(path, server.url, mode=0o666) as served:
        for method, route, status in (
            ("GET", "/paddock/status", b"200"),
            ("POST", "/paddock/reconcile", b"403"),
        ):
            curl = await asyncio.create_subprocess_exec(
                "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-X", method,
                "--unix-socket", str(path), f"http://localhost{route}",
                stdout=asyncio.subprocess.PIPE, user=65534,
            )  # fmt: skip
            out, _ = await curl.communicate()
            assert out == status
        assert served.host.cycles == 0
