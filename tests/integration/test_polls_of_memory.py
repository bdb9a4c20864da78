"""Between two whole looks a poll asks for what is in memory, and for nothing else."""

from __future__ import annotations

import time

from at_rest import QUIET_S
from paddock_cli import SMOL, User

POLLS = {"PADDOCK_POLL": "0.3", "PADDOCK_INTERVAL": "600"}
PINNED = f"{SMOL}    preload: true\n"


def _is_pinned(user: User) -> bool:
    """Ollama shows "for ever" as centuries from now."""
    running = user.server.ps().get("smol:latest")
    return running is not None and int(running["expires_at"][:4]) > 2100


def test_a_poll_asks_ollama_for_memory_alone_and_holds_the_file_to_it(tiny_user: User) -> None:
    user = tiny_user
    user.declare(PINNED)
    with user.daemon(**POLLS) as daemon:
        daemon.wait_ready()
        time.sleep(QUIET_S)
        with user.server.recorded() as requests:
            time.sleep(QUIET_S)
        assert {(r.method, r.path) for r in requests} == {("GET", "/api/ps")}
        user.server.generate("smol", keep_alive=60)
        daemon.wait(lambda: _is_pinned(user), "another client's keep_alive is seen at a poll")


def test_with_a_short_interval_all_is_looked_at_again(tiny_user: User) -> None:
    user = tiny_user
    user.declare(PINNED)
    with user.daemon(**{**POLLS, "PADDOCK_INTERVAL": "1"}) as daemon:
        daemon.wait_ready()
        time.sleep(QUIET_S)
        with user.server.recorded() as requests:
            time.sleep(QUIET_S)
        assert ("GET", "/api/tags") in {(r.method, r.path) for r in requests}


def test_what_is_watched_is_seen_between_the_whole_looks(tiny_user: User) -> None:
    user = tiny_user
    user.declare(PINNED)
    with user.daemon(**POLLS) as daemon:
        daemon.wait_ready()
        time.sleep(QUIET_S)
        [link] = [p for p in (user.server.models_dir / "blobs").iterdir() if p.is_symlink()]
        link.unlink()
        daemon.wait(link.is_symlink, "a broken link is repaired")
