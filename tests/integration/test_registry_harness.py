"""The registry harness itself: a model pushed from one real server is pulled by another."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from real import Answer, RealOllama, StartOllama
from registry import LoopbackRegistry


def _pull(ollama: RealOllama, reference: str) -> Answer:
    body = {"model": reference, "insecure": True, "stream": False}
    return ollama.api("POST", "/api/pull", body, timeout_s=90)


def test_a_pushed_model_is_pulled_by_another_server_with_the_same_digest_and_answers(
    start_ollama: StartOllama, registry: LoopbackRegistry
) -> None:
    here, there = start_ollama(), start_ollama()
    here.create_from_gguf("smol")
    reference = registry.push(here, "smol", "smol:v1")
    assert list(here.tags()) == ["smol:latest"], "the copy that was pushed is gone again"
    assert _pull(there, reference) == Answer(200, {"status": "success"})
    pulled = there.tags()[reference]
    assert f"sha256:{pulled['digest']}" == registry.digest("smol", "v1")
    assert there.chat(reference, "Say hello.")["message"]["content"]
    asked = [request for request in registry.requests_log() if "/blobs/" in request.path]
    assert {request.status for request in asked if request.method == "GET"} >= {206, 307}


def test_a_name_that_the_registry_does_not_have_is_refused(
    ollama: RealOllama, registry: LoopbackRegistry
) -> None:
    answer = _pull(ollama, registry.reference("nobody"))
    assert answer.status == 500
    assert "does not exist" in answer.body["error"]
    with pytest.raises(AssertionError, match="404"):
        registry.digest("nobody")


def _bytes_of_partial_blobs(ollama: RealOllama) -> int:
    """What has come so far: Ollama makes the file in full size, and sparse."""
    partial = ollama.models_dir.glob("blobs/*-partial")
    return sum(path.stat().st_blocks * 512 for path in partial)


def test_a_pull_that_was_cut_in_the_middle_of_a_blob_ends_once_the_registry_is_back(
    start_ollama: StartOllama, registry: LoopbackRegistry
) -> None:
    here, there = start_ollama(), start_ollama()
    here.create_from_gguf("smol")
    reference = registry.push(here, "smol")
    registry.slow(1_000_000)
    with ThreadPoolExecutor(1) as pool:
        pull: Future[Answer] = pool.submit(_pull, there, reference)
        while not _bytes_of_partial_blobs(there):
            assert not pull.done(), pull.result()
            time.sleep(0.01)
        registry.cut()
        assert 0 < _bytes_of_partial_blobs(there) < there.gguf.stat().st_size
        registry.slow(0)
        assert pull.result() == Answer(200, {"status": "success"})
    assert there.generate(reference)["done_reason"] == "load"
