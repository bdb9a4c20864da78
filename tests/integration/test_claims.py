"""What is claimed because nothing was there, and what holds when the claims themselves go away."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from paddock.core.observed import Memory
from paddock.core.plan import WriteManifest
from paddock.edges.state import read_state
from paddock.engine.apply import apply_plan
from paddock.engine.desire import Desire
from paddock.engine.planning import look
from paddock.engine.probe import scratch
from paddock.engine.world import World, this_process
from paddock_cli import SMOL, User
from tiny_models import chat_model
from tiny_store import put_model


@pytest.fixture
def user(tiny_user: User) -> User:
    """A user with a tiny model, declared."""
    os.utime(tiny_user.gguf, (1, 1))
    tiny_user.declare(SMOL)
    return tiny_user


def _manifest(user: User) -> Path:
    return user.server.models_dir / "manifests/registry.ollama.ai/library/smol/latest"


async def test_a_name_that_somebody_takes_between_our_look_and_our_write_is_theirs(
    user: User,
) -> None:
    theirs = user.folder / "theirs.gguf"
    theirs.write_bytes(chat_model(seed=2))
    put_model(user.server.models_dir, "theirs", [("model", theirs)])
    holder = this_process("now", str(user.file), None)
    world = World.to_write(user.server.url, user.server.models_dir, holder)
    desired = Desire(user.file, {})()
    try:
        plan = (await look(world, lambda: desired, Memory())).plan
        while not any(isinstance(action, WriteManifest) for action in plan.actions):
            await apply_plan(world, plan.actions, print)
            plan = (await look(world, lambda: desired, Memory())).plan
        user.server.cli("cp", "theirs", "smol")
        before = _manifest(user).read_bytes()
        last = (await apply_plan(world, plan.actions, print))[-1]
    finally:
        await world.close()
    assert (last.result, last.reason) == ("failed", "ManifestForeign")
    assert "paddock adopt smol (NotOwned)" in user.apply(code=3).out
    assert _manifest(user).read_bytes() == before


async def test_a_scratch_model_that_is_given_up_is_looked_for_again(user: User) -> None:
    """Ollama may make it after it was removed."""
    world = World.to_write(user.server.url, user.server.models_dir, this_process("now", "", None))
    try:
        with pytest.raises(asyncio.CancelledError):
            async with scratch(world) as name:
                raise asyncio.CancelledError
        assert world.state.ledger().scratch == {name}
    finally:
        await world.close()
    user.apply()
    state = read_state(user.server.models_dir / ".paddock")
    assert state.ledger().scratch == set()
    state.close()


@pytest.mark.parametrize("gone", [".paddock", ".paddock/state.db", "."])
def test_a_state_folder_that_goes_away_under_a_daemon_is_made_anew(user: User, gone: str) -> None:
    """SQLite writes no more to a file that lost its name, and a lock on one locks nobody out."""
    with user.daemon() as daemon:
        daemon.wait_ready()
        path = user.server.models_dir / gone
        for entry in path.iterdir() if gone == "." else (path,):
            if entry.is_dir():
                # Into metadata/ Ollama itself writes meanwhile.
                shutil.rmtree(entry, ignore_errors=entry.name == "metadata")
            else:
                entry.unlink()
        user.declare(f"{SMOL}  more:\n    source: {{gguf: ./smol.gguf}}\n    system: Be kind.\n")
        made = {"smol:latest", "more:latest"}
        daemon.wait(lambda: user.server.tags().keys() == made, "both are there")
        daemon.wait_ready()
        assert '"event": "state folder was replaced"' in daemon.log_text()
        assert f"asking paddock run with pid {daemon.pid} since " in user.apply().err
    user.apply()
    assert "No changes." in user.apply().out
