"""Anything may happen to a real store, in any order, and `paddock apply` may be killed at any step:
no user's file changes, nothing of others changes, no model breaks, and the end is the same.

PADDOCK_MACHINE_STEPS sets how many runs of the machine there are, PADDOCK_MACHINE_SEED the seed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from killed import Killer
from machine import Machine, Place, run_machine
from paddock_cli import User
from provider import RealPaths
from real import RealOllama

RUNS = int(os.environ.get("PADDOCK_MACHINE_STEPS", "8"))
SEED = int(os.environ.get("PADDOCK_MACHINE_SEED", "1"))


@pytest.fixture(scope="module")
def place(real: RealPaths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Both servers, and the process that forks commands."""
    folder = tmp_path_factory.mktemp("machine")
    with RealOllama(real, folder / "ollama") as one, RealOllama(real, folder / "fresh") as two:
        user, fresh = User(folder / "user", one), User(folder / "newcomer", two)
        with Killer(user.environment, user.folder) as killer:
            yield Place(user, fresh, killer)


@pytest.mark.timeout(120 + 60 * RUNS)
def test_whatever_happens_nothing_breaks_and_the_end_is_the_same(place: Place) -> None:
    """A failure prints its events, and is met again with the same seed."""
    run_machine(Machine, place=place, runs=RUNS, number=SEED)
