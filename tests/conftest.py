"""What every test shares: the real Ollama, provided once, and servers that end with their test.

A real Ollama that cannot be provided fails each test that needs it; nothing is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import hypothesis
import pytest

from giving_up import give_up
from provider import RealPaths, provide
from real import RealOllama, StartOllama
from registry import LoopbackRegistry, Programs, provide_programs

_REAL = pytest.StashKey[RealPaths | RuntimeError]()
_PROGRAMS = pytest.StashKey[Programs | RuntimeError]()
_Provided = TypeVar("_Provided")


GOLDEN = Path(__file__).parent / "golden"

# A busy machine is no failing example; pytest's own timeout stays.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--update-golden`, for a person to read the diff of."""
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks as `integration` whatever uses a real Ollama."""
    for item in items:
        if "real" in _fixtures(item):
            item.add_marker("integration")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Provides what tests need from outside, before the first: it takes longer than a test may."""
    config = session.config
    needed = set[str]().union(*map(_fixtures, session.items))
    if config.option.collectonly:
        return
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        if "real" in needed:
            config.stash[_REAL] = _or_error(provide)
        if "registry_programs" in needed:
            config.stash[_PROGRAMS] = _or_error(provide_programs)


def _fixtures(item: pytest.Item) -> Sequence[str]:
    return getattr(item, "fixturenames", ())


def _or_error(provider: Callable[[], _Provided]) -> _Provided | RuntimeError:
    try:
        return provider()
    except RuntimeError as error:
        return error


@pytest.fixture(scope="session")
def real(pytestconfig: pytest.Config) -> RealPaths:
    """Where the real binaries and the real GGUF are."""
    provided = pytestconfig.stash[_REAL]
    if isinstance(provided, RuntimeError):
        pytest.fail(f"no real Ollama: {provided}", pytrace=False)
    return provided


@pytest.fixture
def start_ollama(real: RealPaths, tmp_path: Path) -> Iterator[StartOllama]:
    """Starts private servers, each with an empty store; takes variables for them as keywords."""
    with ExitStack() as stack:
        started = 0

        def start(**env: str) -> RealOllama:
            nonlocal started
            started += 1
            folder = tmp_path / f"ollama{started}"
            return stack.enter_context(RealOllama(real, folder, env))

        yield start


@pytest.fixture
def ollama(start_ollama: StartOllama) -> RealOllama:
    """One private server with an empty store, for one test."""
    return start_ollama()


@pytest.fixture(scope="module")
def module_ollama(
    real: RealPaths, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealOllama]:
    """One private server for the tests of a module that only read, or that clean up."""
    with RealOllama(real, tmp_path_factory.mktemp("ollama")) as server:
        yield server


@pytest.fixture(scope="session")
def registry_programs(pytestconfig: pytest.Config) -> Programs:
    """The programs of a real registry; without them: skipped at home, failed in CI."""
    provided = pytestconfig.stash[_PROGRAMS]
    if isinstance(provided, RuntimeError):
        give_up(f"no real registry: {provided}")
    return provided


@pytest.fixture
def registry(registry_programs: Programs, tmp_path: Path) -> Iterator[LoopbackRegistry]:
    """One private, empty registry, for one test."""
    with LoopbackRegistry(registry_programs, tmp_path / "registry") as server:
        yield server


@pytest.fixture
def golden(pytestconfig: pytest.Config) -> Callable[[str, str], None]:
    """Compares a text with the golden file of a name, or writes that file."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if pytestconfig.getoption("--update-golden"):
            path.write_text(text + "\n", encoding="utf-8")
        assert text + "\n" == path.read_text(encoding="utf-8")

    return compare
