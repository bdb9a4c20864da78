"""Anything may happen around a running daemon too: what `test_store_machine.py` says of `apply`
holds for `paddock run`, with models from a registry, with clients that load, pin and unload, and
however often the daemon and Ollama are stopped or killed.

What the daemon does at the same time as an event is not chosen by the seed, so a failure may need a
few runs to be met again. PADDOCK_DAEMON_MACHINE_STEPS sets how many runs of the machine there are,
PADDOCK_MACHINE_SEED the seed.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

import tiny_models as tiny
from killed import Killer
from machine import OURS, Machine, Place, ours, run_machine, words
from machine_store import Store, parsed
from paddock_cli import Daemon, User
from provider import RealPaths
from real import RealOllama
from registry import LoopbackRegistry, Programs
from tiny_store import put_model

RUNS = int(os.environ.get("PADDOCK_DAEMON_MACHINE_STEPS", "5"))
SEED = int(os.environ.get("PADDOCK_MACHINE_SEED", "1"))
SOON_S = 10.0
# A pull that was given up may leave another one of Ollama's standing, until that is given up too.
CALM_S = 180.0
TAGS = ("v1", "v2", "moving")
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
# As many runners as there can be names: which one yields to another is not asked here.
SERVER = {"OLLAMA_MAX_LOADED_MODELS": "20"}
RESIDENCIES: tuple[dict[str, Any], ...] = (
    {},
    {"preload": True},
    {"keep_alive": "10m"},
    {"preload": True, "keep_alive": "10m"},
    {"keep_alive": 0},
)

tags = st.sampled_from(TAGS)
lasting = st.sampled_from((None, 0, "5m", -1))


class Shop(NamedTuple):
    """A registry with `tiny:v1`, `tiny:v2` and `tiny:moving`, which is one of them."""

    registry: LoopbackRegistry

    def name(self, tag: str) -> str:
        return f"{self.registry.reference('tiny')}:{tag}"

    def move(self, to: str) -> None:
        """`tiny:moving` is what another tag is from now on."""
        content = self._ask("GET", f"/v2/lib/tiny/manifests/{to}")
        self._ask("PUT", "/v2/lib/tiny/manifests/moving", content)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        headers = {"Accept": MANIFEST, "Content-Type": MANIFEST}
        connection = http.client.HTTPConnection(self.registry.host, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status in {200, 201}, (answer.status, content)
        return content


@dataclass(frozen=True)
class Town(Place):
    """A place with a registry."""

    shop: Shop


class DaemonMachine(Machine):
    """The same user, whose models are kept by a daemon most of the time."""

    place: Town

    def __init__(self) -> None:
        super().__init__()
        self.shop = self.place.shop
        self.daemon: Daemon | None = None
        self.theirs: dict[str, bytes] = {}
        self.gone: set[tuple[str, str]] = set()
        self.cut_off: set[str] = set()

    @initialize()
    def begin(self) -> None:
        """The daemon runs from the beginning."""
        super().begin()
        self.start_daemon()

    # Paddock runs.

    @precondition(lambda self: self.daemon is None)
    @rule()
    def start_daemon(self) -> None:
        """`systemctl start paddock`."""
        log = self.user.folder / "paddock.log"
        log.unlink(missing_ok=True)
        self.daemon = self.user.daemon()
        self.daemon.start()

    @precondition(lambda self: self.daemon is not None)
    @rule()
    def stop_daemon(self) -> None:
        """`systemctl stop paddock`."""
        daemon = self._forget_daemon()
        code = daemon.stop()
        assert code == 0, daemon.log_text()[-3000:]
        self._check_log(daemon)

    @precondition(lambda self: self.daemon is not None)
    @rule(starts=st.booleans())
    def kill_daemon(self, starts: bool) -> None:
        """`kill -9`; a supervisor may start it again."""
        daemon = self._forget_daemon()
        daemon.signal(signal.SIGKILL)
        assert daemon.ended() == -signal.SIGKILL
        self._check_log(daemon)
        if starts:
            self.start_daemon()

    @precondition(lambda self: self.daemon is not None)
    @rule()
    def hup_daemon(self) -> None:
        """`systemctl reload paddock`."""
        assert self.daemon is not None
        self.daemon.signal(signal.SIGHUP)

    def _forget_daemon(self) -> Daemon:
        assert self.daemon is not None
        daemon, self.daemon = self.daemon, None
        return daemon

    def _check_log(self, daemon: Daemon) -> None:
        said = daemon.log_text()
        for defect in ("Traceback", "InvalidPlan", "InternalError", "action crashed"):
            assert defect not in said, said[-3000:]

    @precondition(lambda self: self.daemon is None)
    @rule(cut=st.booleans())
    def lose_ledger(self, cut: bool) -> None:
        """Not under a daemon: SQLite would go on in a file that has no name any more."""
        super().lose_ledger(cut)

    @rule()
    def kill_ollama(self) -> None:
        """`kill -9` of Ollama; its supervisor starts it again."""
        with self._others():
            self.user.server.kill()
            self.user.server.start()

    # Memory.

    @rule(name=ours, residency=st.sampled_from(RESIDENCIES))
    def hold(self, name: str, residency: dict[str, Any]) -> None:
        """A model shall be in memory, or not stay there."""
        if "source" in self.declared.get(name, {}):
            model = self.declared[name]
            rest = {key: model[key] for key in model.keys() - {"preload", "keep_alive"}}
            self.declared[name] = {**rest, **residency}
            self._declare()

    @rule(name=st.sampled_from((*OURS, "foreign")), keep_alive=lasting)
    def use(self, name: str, keep_alive: object) -> None:
        """A client uses a model, and says how long it shall stay, if at all."""
        body = {"model": name, "prompt": "do", "stream": False, "options": {"num_predict": 1}}
        if keep_alive is not None:
            body["keep_alive"] = keep_alive
        self.user.server.api("POST", "/api/generate", body, timeout_s=60)

    # A registry.

    @rule(name=ours, tag=tags, system=words)
    def declare_pulled(self, name: str, tag: str, system: str) -> None:
        """A model from a registry, under a name of its own."""
        self._declare_pulled(name, tag, system)

    @rule(tag=tags, system=words)
    def declare_reference(self, tag: str, system: str) -> None:
        """A model from a registry, under its reference."""
        self._declare_pulled(self.shop.name(tag), tag, system)

    def _declare_pulled(self, name: str, tag: str, system: str) -> None:
        said = {"system": system} if system else {}
        source = {"registry": self.shop.name(tag), "insecure": True}
        self.declared[name] = {"source": source, **said}
        self._declare()

    @rule(tag=tags, absent=st.booleans())
    def forget_reference(self, tag: str, absent: bool) -> None:
        """It shall not be there, or is not named any more."""
        self.declared.pop(self.shop.name(tag), None)
        if absent:
            self.declared[self.shop.name(tag)] = {"state": "absent"}
        self._declare()

    @rule(tag=tags)
    def pull(self, tag: str) -> None:
        """`ollama pull`, over whatever has that name."""
        body = {"model": self.shop.name(tag), "insecure": True, "stream": False}
        with self._others():
            self.user.server.api("POST", "/api/pull", body)

    @rule(tag=tags)
    def rm_pulled(self, tag: str) -> None:
        """`ollama rm` of what was pulled."""
        self.ollama_rm(self.shop.name(tag))

    @rule(tag=tags, name=ours, back=st.booleans())
    def cp_pulled(self, tag: str, name: str, back: bool) -> None:
        """`ollama cp` from or over what was pulled."""
        one, two = (name, self.shop.name(tag)) if back else (self.shop.name(tag), name)
        self.ollama_cp(one, two)

    @rule(to=st.sampled_from(("v1", "v2")))
    def move_tag(self, to: str) -> None:
        """The registry has something else under a tag."""
        self.shop.move(to)

    # What holds whenever one looks.

    @invariant()
    def nothing_of_others_has_changed(self) -> None:
        now = self.store.manifests
        changed = [name for name, data in self.theirs.items() if now.get(name) != data]
        assert not changed, f"{changed} are not ours"

    @invariant()
    def every_manifest_has_its_blobs(self) -> None:
        # A model is read in two steps, and may be removed between them.
        _soon(lambda: self.store.missing <= self.gone, lambda: self.store.missing - self.gone)

    @invariant()
    def no_file_of_the_user_has_changed(self) -> None:
        self._check_files()

    @contextlib.contextmanager
    def _others(self) -> Iterator[None]:
        """Takes down what others did: their models, blobs that they took away, and runners that
        they cut off from their names."""
        self.nothing_of_others_has_changed()
        reached, owned = self.store.ggufs, self.store.owned
        yield
        manifests = self.store.manifests
        owned |= self.store.owned
        self.theirs = {name: data for name, data in manifests.items() if name not in owned}
        self.gone |= self.store.missing
        self.cut_off |= reached - self.store.ggufs

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        if self.daemon is None:
            with super()._watched():
                yield
        else:
            yield
            self._check_files()

    # The end.

    def teardown(self) -> None:
        """After all that the daemon brings it to its end, and leaves nothing to do."""
        try:
            if self.kept or self.declared:
                self._end()
        finally:
            if self.daemon is not None:
                self._kill_left()  # it failed

    def _end(self) -> None:
        self._make_peace()
        if self.daemon is None:
            self.start_daemon()
        assert self.daemon is not None
        daemon = self.daemon
        self.place.killer.run("apply")  # whatever waits for its time is tried now
        daemon.wait(lambda: _is_ready(daemon), "everything is ready", timeout_s=CALM_S)
        self._check_runners()
        self.stop_daemon()
        super().teardown()
        self._check_runners()

    def _make_peace(self) -> None:
        """What is pulled stays the same, and what others are made of is not declared as another."""
        used = set[str]()
        for name, model in self.declared.items():
            if model.get("source", {}).get("registry") == self.shop.name("moving"):
                model["source"]["registry"] = self.shop.name("v1")
            used |= {model.get("source", {}).get("registry", name)} - {name}
        for name in used:
            self.declared.pop(name, None)
        super()._make_peace()

    def _kill_left(self) -> None:
        daemon = self._forget_daemon()
        daemon.signal(signal.SIGKILL)
        daemon.ended()

    def _check_runners(self) -> None:
        """Each runner has a name, but for those that others cut off; what shall be there is."""
        _soon(lambda: not self._orphans, lambda: self._orphans)
        wanted = self._wanted()
        _soon(lambda: wanted <= _runners(self.user.server), lambda: wanted)

    @property
    def _orphans(self) -> set[str]:
        return _runners(self.user.server) - self.store.ggufs - self.cut_off

    def _wanted(self) -> set[str]:
        """The GGUFs of the models that stay in memory for ever."""
        manifests = self.store.manifests
        pinned = [n for n, model in self.declared.items() if _is_pinned(model)]
        return set().union(*(Store.ggufs_of(parsed(manifests[name])) for name in pinned))

    def _composed(self) -> dict[str, Any]:
        kept = {"source", "system", "parameters", "state"}
        return {
            name: {key: value for key, value in model.items() if key in kept}
            for name, model in self.declared.items()
        }

    def _content(self, number: int) -> bytes:
        return _tiny(number)


def _is_pinned(model: dict[str, Any]) -> bool:
    return bool(model.get("preload")) and "keep_alive" not in model


def _is_ready(daemon: Daemon) -> bool:
    """One that has ended is not: its log says why."""
    try:
        return daemon.is_ready()
    except OSError:
        return False


def _soon(holds: Callable[[], bool], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + SOON_S
    while not holds():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


def _runners(server: RealOllama) -> set[str]:
    """The blobs that the runners of a server have opened, by their command lines."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode(errors="replace").split("\0")
            if "--model" in words[:-1]:
                model = Path(words[words.index("--model") + 1])
                if model.is_relative_to(server.models_dir):
                    found.add(model.name)
    return found


@functools.cache
def _tiny(number: int) -> bytes:
    return tiny.chat_model(seed=number)


@pytest.fixture(scope="module")
def shop(
    real: RealPaths, registry_programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """A registry with three tags."""
    folder = tmp_path_factory.mktemp("shop")
    with LoopbackRegistry(registry_programs, folder / "registry") as registry:
        with RealOllama(real, folder / "ollama") as author:
            for number, tag in enumerate(TAGS[:2]):
                (folder / f"{tag}.gguf").write_bytes(_tiny(5 + number))
                put_model(author.models_dir, f"tiny-{tag}", [("model", folder / f"{tag}.gguf")])
                registry.push(author, f"tiny-{tag}", f"tiny:{tag}")
        found = Shop(registry)
        found.move("v1")
        yield found


@pytest.fixture(scope="module")
def town(real: RealPaths, shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Both servers, the registry, and the process that forks commands."""
    folder = tmp_path_factory.mktemp("machine")
    with (
        RealOllama(real, folder / "ollama", SERVER) as one,
        RealOllama(real, folder / "fresh", SERVER) as two,
    ):
        user, fresh = User(folder / "user", one), User(folder / "newcomer", two)
        with Killer(user.environment, user.folder) as killer:
            yield Town(user, fresh, killer, shop)


@pytest.mark.timeout(120 + 90 * RUNS)
def test_whatever_happens_a_daemon_breaks_nothing_and_comes_to_the_same_end(town: Town) -> None:
    """A failure prints its events."""
    run_machine(DaemonMachine, place=town, runs=RUNS, number=SEED)
