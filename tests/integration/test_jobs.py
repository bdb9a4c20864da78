"""What takes long is done beside the cycles of a daemon: on a real Ollama, with a slow registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paddock_cli import SMOL, User, readiness
from real import StartOllama
from registry import LoopbackRegistry

SLOW_BYTES_PER_S = 2_000_000  # 98 MB take most of a minute


@pytest.fixture
def pulling(registry: LoopbackRegistry, start_ollama: StartOllama) -> str:
    """The lines of a model whose pull outlasts a test."""
    seed = start_ollama()
    seed.create_from_gguf("seed")
    registry.push(seed, "seed", "seed:v1")
    seed.stop()
    registry.slow(SLOW_BYTES_PER_S)
    name = registry.reference("seed:v1")
    return f"  pulled:\n    source: {{registry: '{name}', insecure: true}}\n"


def _ready(document: Any) -> set[str]:
    return {name for name, (status, _) in readiness(document).items() if status == "True"}


def test_a_pull_keeps_no_other_model_waiting(user: User, pulling: str) -> None:
    user.declare(pulling)
    with user.daemon() as daemon:
        daemon.wait(lambda: bool(_partials(user)), "the pull has begun")
        user.declare(pulling + SMOL + "    preload: true\n")
        daemon.wait(lambda: "smol" in _ready(daemon.status()), "the new model is made and loaded")
        [link] = [p for p in (user.server.models_dir / "blobs").iterdir() if p.is_symlink()]
        link.unlink()
        daemon.wait(link.exists, "a deleted link is mended")
        user.server.generate("smol", keep_alive="5m")
        daemon.wait(lambda: _is_pinned(user), "a lost pin is asserted again")
        daemon.wait(lambda: _ready(daemon.status()) == {"smol"}, "smol is as declared")
        assert _partials(user), "and all the while the pull goes on"


def test_a_pull_that_nobody_wants_any_more_is_given_up(user: User, pulling: str) -> None:
    user.declare(pulling)
    with user.daemon() as daemon:
        daemon.wait(lambda: bool(_partials(user)), "the pull has begun")
        user.declare(SMOL)
        daemon.wait_ready()
        assert readiness(daemon.status()).keys() == {"smol"}
        assert user.server.tags().keys() == {"smol:latest"}


def _partials(user: User) -> list[Path]:
    return list((user.server.models_dir / "blobs").glob("*-partial"))


def _is_pinned(user: User) -> bool:
    running = user.server.ps().get("smol:latest")
    return running is not None and str(running["expires_at"]).startswith("23")
