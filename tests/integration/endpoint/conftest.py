"""An endpoint in front of a real Ollama with one small model."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from endpoints import (
    CHAT,
    MODEL,
    MODELFILE,
    Served,
    Wire,
    serving,
)
from real import RealOllama


@pytest.fixture(scope="module")
def server(module_ollama: RealOllama) -> RealOllama:
    module_ollama.create_from_gguf(MODEL, modelfile_lines=MODELFILE)
    for _ in range(2):  # an answer after a cached prompt differs from the first
        module_ollama.api("POST", "/api/chat", CHAT | {"stream": False})
    return module_ollama


@pytest.fixture(autouse=True)
async def _no_connection_is_left() -> AsyncIterator[None]:
    yield
    await Wire.close_all()


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder, "p.sock")


@pytest.fixture
async def served(server: RealOllama, path: Path) -> AsyncIterator[Served]:
    async with serving(path, server.url) as endpoint:
        yield endpoint
