"""Anything may happen to a real store, in any order, and `paddock apply` may be killed at any step:
no user's file changes, nothing of others changes, no model breaks, and the end is the same.

A state machine of hypothesis: each run is a sequence of events (people edit models.yaml, move
files, use Ollama; disks and processes fail) with applies between them. The same seed gives the same
events. PADDOCK_MACHINE_STEPS sets how many runs of STEPS events there are, PADDOCK_MACHINE_SEED the
seed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gguf_files import model_bytes
from killed import NEVER, Ended, Killer
from paddock_cli import User
from provider import RealPaths
from real import RealOllama

STEPS = 16
RUNS = int(os.environ.get("PADDOCK_MACHINE_STEPS", "8"))
SEED = int(os.environ.get("PADDOCK_MACHINE_SEED", "1"))
KILLED, UNREACHABLE = -9, 11
FILES = ("a.gguf", "b.gguf", "c.gguf")
OURS = ("one", "two", "three")
THEIRS = ("foreign", "stranger")
LIBRARY = "manifests/registry.ollama.ai/library"

files = st.sampled_from(FILES)
ours = st.sampled_from(OURS)
anybody = st.sampled_from((*OURS, *THEIRS))
contents = st.integers(1, 4)
words = st.sampled_from(["", "Be terse.", "Be kind."])
numbers = st.sampled_from([0, 256, 512])


class Kept(NamedTuple):
    """What nobody but its owner may change of a file."""

    digest: str
    inode: int
    mode: int
    mtime_ns: int


@dataclass(frozen=True)
class Place:
    """What all runs share: two servers, each with a user, and a process that forks commands."""

    user: User
    fresh: User
    killer: Killer


@dataclass(frozen=True)
class Seen:
    """The store before an apply: manifests, whose blobs are lost, and which names are Paddock's."""

    manifests: dict[str, bytes]
    lost: set[tuple[str, str]]
    owned: set[str]


class Store:
    """The models folder as it lies on the disk, read without Paddock's help."""

    def __init__(self, models_dir: Path):
        self.root = models_dir

    def manifest(self, name: str) -> Path:
        return self.root / LIBRARY / name / "latest"

    @property
    def manifests(self) -> dict[str, bytes]:
        found = sorted((self.root / LIBRARY).glob("*/latest"))
        return {path.parent.name: path.read_bytes() for path in found}

    @property
    def state(self) -> Path:
        return self.root / ".paddock" / "state.db"

    @property
    def owned(self) -> set[str]:
        """The names in the ledger, and those that bear marks, which a lost ledger is made of."""
        marked = {name for name, data in self.manifests.items() if self._is_marked(name, data)}
        return marked | (self._claimed() if self.state.exists() else set())

    def _claimed(self) -> set[str]:
        with contextlib.closing(sqlite3.connect(f"file:{self.state}?mode=ro", uri=True)) as db:
            try:
                rows = db.execute("SELECT name FROM owned").fetchall()
            except sqlite3.Error:  # it is damaged
                return set()
        return {name.split("/")[-1].removesuffix(":latest") for (name,) in rows}

    def _is_marked(self, name: str, data: bytes) -> bool:
        marks = _parsed(data).get("annotations") or {}
        path = self.root / ".paddock" / "id"
        values = list(marks.values())
        return path.exists() and path.read_text() in values and _full(name) in values

    @property
    def lost(self) -> set[tuple[str, str]]:
        """The blobs that are not there or cannot be read, with the names of their models."""
        return {
            (name, blob)
            for name, data in self.manifests.items()
            for blob in _blobs(_parsed(data))
            if not (self.root / "blobs" / blob).exists()
        }

    @property
    def links(self) -> list[Path]:
        return sorted(path for path in (self.root / "blobs").glob("*") if path.is_symlink())

    def see(self) -> Seen:
        return Seen(self.manifests, self.lost, self.owned)


def _full(name: str) -> str:
    return f"registry.ollama.ai/library/{name}:latest"


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _blobs(manifest: dict[str, Any]) -> list[str]:
    parts = [manifest["config"], *manifest["layers"]] if manifest else []
    return [part["digest"].replace(":", "-") for part in parts]


class Machine(RuleBasedStateMachine):
    """A user, a store, and all that may happen to them."""

    place: Place

    def __init__(self) -> None:
        super().__init__()
        self.user, self.store = self.place.user, Store(self.place.user.server.models_dir)
        self.declared: dict[str, dict[str, Any]] = {}
        self.kept: dict[Path, Kept] = {}
        self.writes = 1
        self.prune = False

    @initialize()
    def begin(self) -> None:
        """An empty store, three files, and a model of somebody else's."""
        _empty(self.place.user)
        for path in FILES:
            self._put(self.user.folder / path, 1 + FILES.index(path))
        theirs = self.user.server.folder / "theirs.gguf"
        theirs.write_bytes(model_bytes(block_count=9))
        self._create("foreign", theirs)
        self.declared = {"one": {"source": {"gguf": "./a.gguf"}}}
        self._declare()

    # People edit models.yaml.

    @rule(name=ours, path=files, system=words, num_ctx=numbers)
    def declare(self, name: str, path: str, system: str, num_ctx: int) -> None:
        """A model of a file, new or in the place of another."""
        parameters = {"parameters": {"num_ctx": num_ctx}} if num_ctx else {}
        said = {"system": system} if system else {}
        self.declared[name] = {"source": {"gguf": f"./{path}"}, **said, **parameters}
        self._declare()

    @rule(system=words)
    def derive(self, system: str) -> None:
        """A model of another model."""
        said = {"system": system} if system else {}
        self.declared["child"] = {"source": {"model": "one"}, **said}
        self._declare()

    @rule(name=st.sampled_from((*OURS, "child", "foreign")))
    def declare_absent(self, name: str) -> None:
        """A model shall not be there."""
        self.declared[name] = {"state": "absent"}
        self._declare()

    @rule(name=st.sampled_from((*OURS, "child", "foreign")), prune=st.booleans())
    def forget(self, name: str, prune: bool) -> None:
        """A model is not named any more."""
        self.declared.pop(name, None)
        self.prune = prune
        self._declare()

    # People move their files.

    @rule(path=files, content=contents)
    def replace_file(self, path: str, content: int) -> None:
        """Another file is renamed to this name."""
        new = self.user.folder / "new"
        self._put(new, content)
        new.replace(self.user.folder / path)
        self.kept[self.user.folder / path] = self.kept.pop(new)

    @rule(path=files, content=contents)
    def write_file(self, path: str, content: int) -> None:
        """A file is written in place."""
        self._put(self.user.folder / path, content)

    @rule(path=files)
    def touch_file(self, path: str) -> None:
        """A file gets another time."""
        if (self.user.folder / path).exists():
            self._date(self.user.folder / path)

    @rule(path=files)
    def remove_file(self, path: str) -> None:
        """A file goes away."""
        (self.user.folder / path).unlink(missing_ok=True)
        self.kept.pop(self.user.folder / path, None)

    @rule(one=files, two=files)
    def move_file(self, one: str, two: str) -> None:
        """A file takes another's name."""
        if one != two and (self.user.folder / one).exists():
            (self.user.folder / one).replace(self.user.folder / two)
            self.kept[self.user.folder / two] = self.kept.pop(self.user.folder / one)

    # People use Ollama.

    @rule(name=anybody)
    def ollama_rm(self, name: str) -> None:
        """`ollama rm`."""
        self.user.server.api("DELETE", "/api/delete", {"model": name})

    @rule(one=anybody, two=anybody)
    def ollama_cp(self, one: str, two: str) -> None:
        """`ollama cp`."""
        self.user.server.api("POST", "/api/copy", {"source": one, "destination": two})

    @rule(one=anybody, two=anybody, system=words)
    def ollama_create(self, one: str, two: str, system: str) -> None:
        """`ollama create`, which touches the layers that it uses again, through our links."""
        body = {"model": two, "from": one, "system": system, "stream": False}
        self.user.server.api("POST", "/api/create", body)
        for path in self.kept:
            self._keep(path)

    @rule()
    def restart_ollama(self) -> None:
        """Ollama is started again, hours later: it removes what no manifest names."""
        for path in (self.store.root / "blobs").glob("*"):
            if not path.is_symlink() or os.utime in os.supports_follow_symlinks:
                os.utime(path, (1, 1), follow_symlinks=False)
        self.user.server.restart()

    # The store is damaged.

    @precondition(lambda self: self.store.links)
    @rule(data=st.data(), path=st.sampled_from(("", *FILES)))
    def damage_link(self, data: st.DataObject, path: str) -> None:
        """A link is removed, or leads to another file."""
        link = data.draw(st.sampled_from(self.store.links))
        link.unlink()
        if path:
            link.symlink_to(self.user.folder / path)

    @precondition(lambda self: self.store.links)
    @rule(data=st.data())
    def replace_link(self, data: st.DataObject) -> None:
        """A real file takes the place of a link, as a pull does."""
        link = data.draw(st.sampled_from(self.store.links))
        if link.exists() and f"sha256-{_sha256(link)}" == link.name:
            content = link.read_bytes()
            link.unlink()
            link.write_bytes(content)

    @rule(name=ours, cut=st.booleans())
    def damage_manifest(self, name: str, cut: bool) -> None:
        """A manifest is removed, or is cut short."""
        path = self.store.manifest(name)
        if path.exists() and name in self.store.owned:
            content = path.read_bytes()
            path.unlink()
            if cut:
                path.write_bytes(content[: len(content) // 2])

    @rule(cut=st.booleans())
    def lose_ledger(self, cut: bool) -> None:
        """The ledger is removed, or is no database any more."""
        if self.store.state.exists():
            self.store.state.unlink()
            if cut:
                self.store.state.write_bytes(b"nothing that could be read")

    # Paddock works, as long as it is let.

    @rule()
    def apply(self) -> None:
        """`paddock apply`."""
        self._apply(NEVER)

    @rule()
    def apply_again(self) -> None:
        """The same: as likely as two other things."""
        self._apply(NEVER)

    @rule(step=st.integers(0, 9))
    def apply_killed_early(self, step: int) -> None:
        """`paddock apply`, killed at one of its first steps."""
        self._apply(step)

    @rule(step=st.integers(0, 40))
    def apply_killed(self, step: int) -> None:
        """`paddock apply`, killed at one of its steps, if it has as many."""
        self._apply(step)

    def _apply(self, step: int) -> None:
        with self._watched():
            ended = self.place.killer.run("apply", step=step)
        assert ended.code in {KILLED, 0, 1, 3}, ended
        self._check_said(ended)

    @rule(delay_s=st.floats(0, 0.3))
    def apply_while_ollama_dies(self, delay_s: float) -> None:
        """`paddock apply`, and Ollama is killed meanwhile."""
        timer = threading.Timer(delay_s, self.user.server.kill)
        with self._watched():
            timer.start()
            ended = self.place.killer.run("apply")
            timer.join()
        self.user.server.start()
        assert ended.code in {UNREACHABLE, 0, 1, 3}, ended
        self._check_said(ended)

    def teardown(self) -> None:
        """After all that, two applies end it, and the store is what a new one would be."""
        if not self.kept and not self.declared:
            return  # it never began
        self._make_peace()
        for _ in range(2):
            with self._watched():
                ended = self.place.killer.run("apply")
        assert ended.code == 0, ended
        assert "No changes." in ended.said, ended
        assert self.store.lost == set()
        assert self._models(self.user) == self._fresh_models()

    def _make_peace(self) -> None:
        """All files are there, and what is declared is Paddock's to make."""
        for path in FILES:
            if not (self.user.folder / path).exists():
                self._put(self.user.folder / path, 1)
        self.prune = False
        self._declare()
        # What is broken and not ours is nobody's to mend, and Ollama cannot always remove it.
        for name, data in self.store.manifests.items():
            if not _parsed(data) or any(lost == name for lost, _ in self.store.lost):
                self.store.manifest(name).unlink()
        there = [name for name in self.declared if name in self.store.manifests]
        for name in there:
            if name != "foreign":
                adopted = self.place.killer.run("adopt", name)
                if adopted.code != 0:  # a damaged ledger is set aside by an apply first
                    self.place.killer.run("apply")
                    assert self.place.killer.run("adopt", name).code == 0
        self.declared.pop("foreign", None)
        if self.declared.get("one", {}).get("source") is None:
            self.declared.pop("child", None)
        self._declare()

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Whatever an apply does, it keeps to this."""
        before = self.store.see()
        yield
        after = self.store.see()
        assert after.lost <= before.lost, f"it broke {after.lost - before.lost}"
        for name in before.manifests.keys() - before.owned:
            assert after.manifests.get(name) == before.manifests[name], f"{name} is not ours"
        self._check_files()

    def _check_files(self) -> None:
        for path, kept in self.kept.items():
            assert _kept(path) == kept, path

    def _check_said(self, ended: Ended) -> None:
        assert "Traceback" not in ended.said, ended
        assert "InvalidPlan" not in ended.said, ended
        assert "NoEffect" not in ended.said, ended

    def _models(self, user: User) -> dict[str, object]:
        """What each declared model is made of; not the marks in its manifest."""
        found = Store(user.server.models_dir).manifests
        return {
            name: sorted(_blobs(_parsed(data)))
            for name, data in found.items()
            if name in self.declared
        }

    def _fresh_models(self) -> dict[str, object]:
        fresh = self.place.fresh
        _empty(fresh)
        for path in FILES:
            shutil.copy2(self.user.folder / path, fresh.folder / path)
        shutil.copy2(self.user.file, fresh.file)
        assert fresh.paddock("apply").code == 0
        return self._models(fresh)

    def _declare(self) -> None:
        self.user.declare(json.dumps(self.declared), head=_head(self.prune))

    def _create(self, name: str, gguf: Path) -> None:
        """A model of somebody's own, whose GGUF the store holds as a file."""
        content = gguf.read_bytes()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        config = b'{"model_format":"gguf","model_family":"llama"}'
        named = f"sha256:{hashlib.sha256(config).hexdigest()}"
        for blob, data in ((digest, content), (named, config)):
            answer = self.user.server.api("POST", f"/api/blobs/{blob}", data)
            assert answer.status in {200, 201}, answer
        kind = "application/vnd.ollama.image.model"
        layer = {"mediaType": kind, "digest": digest, "size": len(content)}
        document = {"schemaVersion": 2, "layers": [layer], "config": {"digest": named, "size": 46}}
        path = self.store.manifest(name)
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(document))

    def _put(self, path: Path, content: int) -> None:
        path.write_bytes(model_bytes(block_count=content))
        self._date(path)

    def _date(self, path: Path) -> None:
        """Long ago, so that it has settled, and never the same."""
        self.writes += 1
        os.utime(path, (self.writes, self.writes))
        self._keep(path)

    def _keep(self, path: Path) -> None:
        self.kept[path] = _kept(path)


def _head(prune: bool) -> str:
    return f"version: 1\nprune: {json.dumps(prune)}\nmodels: "


def _kept(path: Path) -> Kept:
    facts = path.stat()
    return Kept(_sha256(path), facts.st_ino, facts.st_mode, facts.st_mtime_ns)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _empty(user: User) -> None:
    user.server.stop()
    shutil.rmtree(user.server.models_dir)
    for path in user.folder.glob("*.gguf"):
        path.unlink()
    user.server.start()


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

    class Here(Machine):
        pass

    Here.place = place
    print(f"PADDOCK_MACHINE_SEED={SEED} PADDOCK_MACHINE_STEPS={RUNS}")
    run_state_machine_as_test(
        seed(SEED)(Here),
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
