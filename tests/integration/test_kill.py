"""kill -9 at every step of an apply: no model is ever broken, and the next apply ends the work."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable

import pytest

from killed import Ended, Killer
from paddock_cli import COMMAND, User
from stores import belongings, check_whole, unnamed

MADE = (
    "  smol:\n    source: {gguf: ./smol.gguf}\n    parameters: {num_ctx: 512}\n"
    "  terse:\n    source: {model: smol}\n    system: Be terse.\n"
)
EDITED = (
    "  smol:\n    source: {gguf: ./other.gguf}\n    parameters: {num_ctx: 256}\n"
    "  terse:\n    source: {model: smol}\n    system: Be very terse.\n"
)
GONE = "  smol: {state: absent}\n  terse: {state: absent}\n"
NAMES = {"smol:latest", "terse:latest"}
FOREIGN = "foreign:latest"
KILLED = -9


@pytest.fixture
def owner(user: User) -> User:
    """A user beside somebody else's model of the same layers, and a second file of their own."""
    other = user.folder / "other.gguf"
    shutil.copy(user.gguf, other)
    with other.open("r+b") as file:
        file.seek(-64, 2)
        file.write(bytes(64))
    os.utime(other, (1, 1))  # one that has just been written is left to settle first
    lines = ["SYSTEM Not yours.", "PARAMETER num_ctx 512"]
    user.server.create_from_gguf("foreign", other, lines)
    return user


def _check_converged(user: User, names: set[str]) -> None:
    assert set(user.server.tags()) == {FOREIGN} | names
    for name in names:
        assert user.server.show(name)["template"], name
    assert list((user.server.models_dir / ".paddock" / "tmp").iterdir()) == []


def _kill_at_every_step(
    user: User, killer: Killer, names: set[str], back: Callable[[], None]
) -> int:
    """Kills an apply at step after step, from the state that `back` leads to; gives how many."""
    store = user.server.models_dir
    foreign, files = belongings(store, "foreign"), _user_files(user)
    back()
    assert killer.run("apply").code == 0
    left = unnamed(store)
    step, ended = 0, Ended(KILLED, 0, "")
    while ended.code == KILLED:
        back()
        ended = killer.run("apply", step=step)
        assert ended.code in (KILLED, 0), ended
        check_whole(store)
        after = killer.run("apply")
        assert after.code == 0, (step, after)
        check_whole(store)
        _check_converged(user, names)
        assert unnamed(store) <= left, step
        step += 1
    assert belongings(store, "foreign") == foreign
    assert _user_files(user) == files
    return step - 1


def _user_files(user: User) -> dict[str, tuple[int, int, int]]:
    files = {path.name: path.stat() for path in user.folder.glob("*.gguf")}
    return {name: (f.st_ino, f.st_size, f.st_mtime_ns) for name, f in files.items()}


def test_making_models_survives_a_kill_at_every_step(owner: User) -> None:
    owner.declare(MADE)
    with Killer(owner.environment, owner.folder) as killer:

        def nothing_made() -> None:
            for name in NAMES:
                owner.server.api("DELETE", "/api/delete", {"model": name})
            shutil.rmtree(owner.server.models_dir / ".paddock", ignore_errors=True)

        assert _kill_at_every_step(owner, killer, NAMES, nothing_made) > 30


def test_changing_models_survives_a_kill_at_every_step(owner: User) -> None:
    with Killer(owner.environment, owner.folder) as killer:

        def made() -> None:
            owner.declare(MADE)
            assert killer.run("apply").code == 0
            owner.declare(EDITED)

        assert _kill_at_every_step(owner, killer, NAMES, made) > 8


def test_removing_models_survives_a_kill_at_every_step(owner: User) -> None:
    with Killer(owner.environment, owner.folder) as killer:

        def made() -> None:
            owner.declare(MADE)
            assert killer.run("apply").code == 0
            owner.declare(GONE)

        assert _kill_at_every_step(owner, killer, set(), made) > 4


@pytest.mark.parametrize("seed", range(4))
def test_an_apply_that_is_killed_at_any_time_is_ended_by_the_next(owner: User, seed: int) -> None:
    owner.declare(MADE)
    delay_s = random.Random(seed).uniform(0.3, 1.2)
    process = subprocess.Popen(
        [*COMMAND, "apply"],
        env=owner.environment,
        cwd=owner.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(delay_s)  # any time will do: it is what the test is about
    process.kill()
    process.wait()
    check_whole(owner.server.models_dir)
    owner.apply()
    _check_converged(owner, NAMES)
