"""The harness itself: a server is private, says what it did, and comes and goes as told."""

from __future__ import annotations

from pathlib import Path

import pytest

from processes import running
from real import RealOllama, Request, StartOllama
from snapshots import store_snapshot


def test_a_model_made_from_the_gguf_answers_and_the_log_names_every_request(
    ollama: RealOllama,
) -> None:
    gguf_before = ollama.gguf.stat()
    ollama.create_from_gguf("smol", modelfile_lines=["PARAMETER num_ctx 512"])
    assert list(ollama.tags()) == ["smol:latest"]
    with ollama.recorded() as requests:
        answer = ollama.chat("smol", "Say hello.", keep_alive=-1)
        loaded = ollama.ps()
    assert answer["message"]["content"]
    assert loaded["smol:latest"]["context_length"] == 512
    assert requests == [Request("POST", "/api/chat", 200), Request("GET", "/api/ps", 200)]
    assert [request.mutates for request in requests] == [True, False]
    assert ollama.gguf.stat().st_mtime_ns == gguf_before.st_mtime_ns


def test_reading_is_not_counted_as_a_mutation(ollama: RealOllama) -> None:
    with ollama.recorded() as requests:
        ollama.tags()
        assert ollama.api("POST", "/api/show", {"model": "nobody"}).status == 404
        assert ollama.api("HEAD", "/api/blobs/sha256:" + "0" * 64).status == 404
    assert len(requests) == 3
    assert not any(request.mutates for request in requests)


def test_two_servers_share_neither_port_nor_store(start_ollama: StartOllama) -> None:
    first, second = start_ollama(), start_ollama(OLLAMA_KEEP_ALIVE="7m")
    first.create_from_gguf("smol")
    assert first.port != second.port
    assert (len(first.tags()), len(second.tags())) == (1, 0)
    assert "OLLAMA_KEEP_ALIVE:7m0s" in second.log_text()


def test_a_restart_keeps_the_port_and_the_store_and_leaves_no_runner(ollama: RealOllama) -> None:
    ollama.create_from_gguf("smol")
    ollama.generate("smol", keep_alive=-1)
    port, before = ollama.port, store_snapshot(ollama.models_dir)
    ollama.restart()
    assert ollama.port == port
    assert ollama.ps() == {}
    assert store_snapshot(ollama.models_dir) == before


def test_a_killed_server_takes_its_runners_with_it(ollama: RealOllama) -> None:
    ollama.create_from_gguf("smol")
    ollama.generate("smol", keep_alive=-1)
    group = ollama.pid
    assert running(group) == ["llama-server", "ollama"]
    ollama.kill()
    assert running(group) == []
    with pytest.raises(ConnectionRefusedError):
        ollama.tags()


def test_a_port_that_another_server_holds_is_refused_and_not_shared(ollama: RealOllama) -> None:
    rival = RealOllama(ollama.paths, ollama.folder / "rival", port=ollama.port)
    with pytest.raises(RuntimeError, match="address already in use"):
        rival.start()
    assert not rival.alive()
    assert ollama.alive()


def test_a_snapshot_notices_every_kind_of_write_and_ignores_paddocks_own_folder(
    tmp_path: Path,
) -> None:
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    (blobs / "file").write_bytes(b"a")
    (blobs / "link").symlink_to("/nowhere")
    before = store_snapshot(tmp_path)
    assert {name: entry.kind for name, entry in before.items()} == {
        "blobs": "folder",
        "blobs/file": "file",
        "blobs/link": "link",
    }
    (tmp_path / ".paddock").mkdir()
    (tmp_path / ".paddock" / "ledger").write_text("{}")
    assert store_snapshot(tmp_path) == before
    (blobs / "temporary").touch()
    (blobs / "temporary").unlink()
    assert store_snapshot(tmp_path)["blobs"] != before["blobs"]
    (blobs / "file").chmod(0o600)
    assert store_snapshot(tmp_path)["blobs/file"] != before["blobs/file"]
    (blobs / "link").unlink()
    (blobs / "link").symlink_to("/elsewhere")
    assert store_snapshot(tmp_path)["blobs/link"].content == "/elsewhere"
