"""A state machine of hypothesis: a user, a real store, and all that may happen to them.

Each run is a sequence of events (people edit models.yaml, move files, use Ollama; disks and
processes fail) with applies between them. What holds after each, and at the end, is asserted here;
the tests that run it are `integration/test_store_machine.py` and `test_daemon_machine.py`, of which
the second adds a daemon, runners and a registry.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from gguf_files import model_bytes
from killed import NEVER, Ended, Killer
from machine_store import MODEL, Kept, Store, blobs_of, kept, parsed
from paddock_cli import User

STEPS = 16
KILLED, INVALID, UNREACHABLE, USAGE = -9, 10, 11, 64
FILES = ("a.gguf", "b.gguf", "c.gguf")
OURS = ("one", "two", "three")
THEIRS = ("foreign", "stranger")

files = st.sampled_from(FILES)
ours = st.sampled_from(OURS)
named = st.sampled_from((*OURS, "child", "foreign"))
anybody = st.sampled_from((*OURS, *THEIRS))
contents = st.integers(1, 4)
numbers_of_links = st.integers(0, 5)
words = st.sampled_from(["", "Be terse.", "Be kind."])
numbers = st.sampled_from([0, 256, 512])


@dataclass(frozen=True)
class Place:
    """What all runs share: two servers, each with a user, and a process that forks commands."""

    user: User
    fresh: User
    killer: Killer


def run_machine(machine: type[Machine], *, place: Place, runs: int, number: int) -> None:
    """Runs a machine; a failure prints its events, and the seed gives the same ones again."""

    class Here(machine):  # type: ignore[misc, valid-type]
        pass

    Here.place = place
    print(f"{runs} runs of {machine.__name__}, PADDOCK_MACHINE_SEED={number}")
    run_state_machine_as_test(
        seed(number)(Here),
        settings=settings(
            max_examples=runs,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


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
        self.ledger_lost = False

    @initialize()
    def begin(self) -> None:
        """An empty store, three files, and a model of somebody else's."""
        _empty(self.place.user)
        for path in FILES:
            self._put(self.user.folder / path, 1 + FILES.index(path))
        theirs = self.user.server.folder / "theirs.gguf"
        theirs.write_bytes(self._content(9))
        with self._others():
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

    @rule(name=named)
    def declare_absent(self, name: str) -> None:
        """A model shall not be there."""
        self.declared[name] = {"state": "absent"}
        self._declare()

    @rule(name=named, prune=st.booleans())
    def forget(self, name: str, prune: bool) -> None:
        """A model is not named any more."""
        self.declared.pop(name, None)
        self.prune = prune
        self._declare()

    # People tell Paddock what to care for.

    @rule(name=named, verb=st.sampled_from(("pause", "resume")))
    def pause_or_resume(self, name: str, verb: str) -> None:
        """`paddock pause NAME`: leave it alone; `paddock resume NAME`."""
        if name in self.declared:
            self._command(verb, name)

    @rule(name=anybody)
    def adopt(self, name: str) -> None:
        """`paddock adopt NAME`: a model of anybody's is Paddock's from now on, and in the file."""
        with self._others():
            self._command("adopt", name)
        self._declare()

    def _command(self, *arguments: str) -> None:
        ended = self.place.killer.run(*arguments)
        assert ended.code in {0, 1, INVALID, USAGE}, ended
        self._check_said(ended)
        self._check_files()

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
        with self._others():
            self.user.server.api("DELETE", "/api/delete", {"model": name})

    @rule(one=anybody, two=anybody)
    def ollama_cp(self, one: str, two: str) -> None:
        """`ollama cp`."""
        with self._others():
            self.user.server.api("POST", "/api/copy", {"source": one, "destination": two})

    @rule(one=anybody, two=anybody, system=words)
    def ollama_create(self, one: str, two: str, system: str) -> None:
        """`ollama create`, which touches the layers that it uses again, through our links."""
        body = {"model": two, "from": one, "system": system, "stream": False}
        with self._others():
            self.user.server.api("POST", "/api/create", body)
        for path in self.kept:
            self._keep(path)

    @rule()
    def restart_ollama(self) -> None:
        """Ollama is started again, hours later: it removes what no manifest names."""
        with self._others():
            for path in (self.store.root / "blobs").glob("*"):
                with contextlib.suppress(FileNotFoundError):
                    os.utime(path, (1, 1), follow_symlinks=False)
            self.user.server.restart()

    # The store is damaged.

    @rule(number=numbers_of_links, path=st.sampled_from(("", *FILES)))
    def damage_link(self, number: int, path: str) -> None:
        """A link is removed, or leads to another file."""
        with self._others(), contextlib.suppress(FileNotFoundError):
            for link in self._link(number):
                link.unlink()
                if path:
                    link.symlink_to(self.user.folder / path)

    @rule(number=numbers_of_links)
    def replace_link(self, number: int) -> None:
        """A real file takes the place of a link, as a pull does."""
        with self._others(), contextlib.suppress(FileNotFoundError):
            for link in self._link(number):
                content = link.read_bytes()
                if f"sha256-{hashlib.sha256(content).hexdigest()}" == link.name:
                    link.unlink()
                    link.write_bytes(content)

    def _link(self, number: int) -> list[Path]:
        """One of the links, if there is any: how many there are is not for the seed to know."""
        links = self.store.links
        return [links[number % len(links)]] if links else []

    @rule(name=ours, cut=st.booleans())
    def damage_manifest(self, name: str, cut: bool) -> None:
        """A manifest is removed, or is cut short."""
        path = self.store.manifest(name)
        with self._others():
            if path.exists() and name in self.store.owned:
                content = path.read_bytes()
                path.unlink()
                if cut:
                    path.write_bytes(content[: len(content) // 2])

    @rule(cut=st.booleans())
    def lose_ledger(self, cut: bool) -> None:
        """The ledger is removed, or is no database any more."""
        if self.store.state.exists():
            with self._others():
                self.ledger_lost = True
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
        assert ended.code in {KILLED, 0, 1, 3, INVALID}, ended
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
        assert ended.code in {UNREACHABLE, 0, 1, 3, INVALID}, ended
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
        self._check_store()

    def _check_store(self) -> None:
        assert not self.store.lost, self.store.lost
        assert not (corrupt := self.store.corrupt(self.declared)), corrupt
        assert not self.store.temporary, self.store.temporary
        assert self.ledger_lost or not self.store.scratch, self.store.scratch
        mine, fresh = self._models(self.user), self._fresh_models()
        assert mine == fresh, f"{mine} is not {fresh}"

    def _make_peace(self) -> None:
        """All files are there, and what is declared is Paddock's to make."""
        for path in FILES:
            if not (self.user.folder / path).exists():
                self._put(self.user.folder / path, 1)
        self.prune = False
        if self.declared.get("one", {}).get("source") is None:
            self.declared.pop("child", None)  # the file is not valid with it
        self._declare()
        for name in self.declared:
            self._command("resume", name)
        # What is broken and not ours is nobody's to mend, and Ollama cannot always remove it.
        with self._others():
            self._remove_broken()
            self._adopt_declared()
        self.declared.pop("foreign", None)
        self._declare()

    def _remove_broken(self) -> None:
        for name, data in self.store.manifests.items():
            if not parsed(data) or any(lost == name for lost, _ in self.store.lost):
                self.store.manifest(name).unlink()

    def _adopt_declared(self) -> None:
        for name in [name for name in self.declared if name in self.store.manifests]:
            if name != "foreign":
                adopted = self.place.killer.run("adopt", name)
                if adopted.code != 0:  # a damaged ledger is set aside by an apply first
                    self.place.killer.run("apply")
                    assert self.place.killer.run("adopt", name).code == 0

    @contextlib.contextmanager
    def _others(self) -> Iterator[None]:
        """Something that not Paddock does to the store, and may do."""
        yield

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
        for path, before in self.kept.items():
            assert kept(path) == before, path

    def _check_said(self, ended: Ended) -> None:
        assert "Traceback" not in ended.said, ended
        assert "InvalidPlan" not in ended.said, ended
        assert "InternalError" not in ended.said, ended
        assert "NoEffect" not in ended.said, ended

    def _models(self, user: User) -> dict[str, object]:
        """What each declared model is made of; not the marks in its manifest."""
        found = Store(user.server.models_dir).manifests
        return {
            name: sorted(blobs_of(parsed(data)))
            for name, data in found.items()
            if name in self.declared
        }

    def _fresh_models(self) -> dict[str, object]:
        fresh = self.place.fresh
        _empty(fresh)
        for path in FILES:
            shutil.copy2(self.user.folder / path, fresh.folder / path)
        fresh.declare(json.dumps(self._composed()), head=_head(prune=False))
        assert fresh.paddock("apply").code == 0
        return self._models(fresh)

    def _composed(self) -> dict[str, Any]:
        """What is declared, but for what memory shall hold."""
        return self.declared

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
        layer = {"mediaType": MODEL, "digest": digest, "size": len(content)}
        document = {"schemaVersion": 2, "layers": [layer], "config": {"digest": named, "size": 46}}
        path = self.store.manifest(name)
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(document))

    def _content(self, number: int) -> bytes:
        """The file of a number."""
        return model_bytes(block_count=number)

    def _put(self, path: Path, content: int) -> None:
        path.write_bytes(self._content(content))
        self._date(path)

    def _date(self, path: Path) -> None:
        """Long ago, so that it has settled, and never the same."""
        self.writes += 1
        os.utime(path, (self.writes, self.writes))
        self._keep(path)

    def _keep(self, path: Path) -> None:
        self.kept[path] = kept(path)


def _head(prune: bool) -> str:
    return f"version: 1\nprune: {json.dumps(prune)}\nmodels: "


def _empty(user: User) -> None:
    user.server.stop()
    shutil.rmtree(user.server.models_dir)
    for path in user.folder.glob("*.gguf"):
        path.unlink()
    user.server.start()
