"""Publish trees beside a real Ollama, read by the real llama-server: links for other programs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from killed import Ended, Killer
from paddock_cli import HEAD, SMOL, User
from provider import RealPaths
from snapshots import Entry, store_snapshot

KILLED = -signal.SIGKILL
LOAD_S = 60.0


def publish(user: User, *entries: str, models: str = SMOL) -> None:
    lines = "".join(f"  - {entry}\n" for entry in entries)
    user.declare(models + (f"publish:\n{lines}" if lines else ""), head=HEAD if models else "")


def links(tree: Path) -> dict[str, str]:
    found = (path for path in tree.rglob("*") if path.is_symlink())
    return {str(path.relative_to(tree)): str(path.readlink()) for path in found}


def snapshot(tree: Path) -> dict[str, Entry]:
    return store_snapshot(tree)


def published(user: User) -> tuple[str, str]:
    document = user.paddock("status", "-o", "json").json
    found = next(c for c in document["conditions"] if c["type"] == "Published")
    return found["status"], found["reason"]


@pytest.fixture
def tree(user: User) -> Path:
    return user.folder / "by-name"


@pytest.fixture
def llama_server(real: RealPaths) -> Path:
    assert real.llama_server is not None, "this Ollama hides its llama-server"
    return real.llama_server


@contextlib.contextmanager
def serving(llama_server: Path, model: Path) -> Iterator[str]:
    """llama-server with one model, on a port of its own."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    options = ["--host", "127.0.0.1", "--port", str(port), "-c", "256", "-t", "1", "--offline"]
    process = subprocess.Popen(
        [llama_server, "-m", model, *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + LOAD_S
        while not _is_healthy(url):
            assert process.poll() is None, "llama-server ended"
            assert time.monotonic() < deadline, "llama-server did not load the model"
            time.sleep(0.05)
        yield url
    finally:
        process.kill()
        process.wait()


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def complete(url: str, prompt: str) -> str:
    body = json.dumps({"prompt": prompt, "n_predict": 4, "temperature": 0}).encode()
    request = urllib.request.Request(f"{url}/completion", body)
    with urllib.request.urlopen(request, timeout=LOAD_S) as answer:
        return str(json.loads(answer.read())["content"])


def test_llama_server_answers_from_a_published_link(
    user: User, tree: Path, llama_server: Path
) -> None:
    publish(user, "{path: ./by-name}")
    user.apply()
    assert links(tree) == {"smol.gguf": str(user.gguf)}
    with serving(llama_server, tree / "smol.gguf") as url:
        assert complete(url, "The capital of France is").strip()


def test_llama_server_finds_each_model_in_a_folder_of_them(
    user: User, tree: Path, llama_server: Path
) -> None:
    """Its router lists what it finds; builds without subprocesses end after that."""
    user.server.create_from_gguf("someone/own:8b")
    publish(user, "{path: ./by-name}")
    user.apply()
    process = subprocess.Popen(
        [llama_server, "--models-dir", tree, "--host", "127.0.0.1", "--port", "0", "--offline"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    found: set[str] = set()
    with process, contextlib.suppress(StopIteration):
        assert process.stdout is not None
        for line in process.stdout:
            found |= set(re.findall(r"\[models_dir\] (\S+)", line))
            if len(found) == 2:
                break
        process.kill()
    assert found == {"smol", "someone_own-8b"}


def test_a_model_that_ollama_made_itself_is_published_as_its_blob(user: User, tree: Path) -> None:
    user.server.create_from_gguf("own")
    publish(user, "{path: ./by-name}", models="  {}\n")
    user.apply()
    (name, target), *others = links(tree).items()
    assert (name, others) == ("own.gguf", [])
    blob = Path(target)
    assert blob.parent == user.server.models_dir / "blobs"
    assert blob.is_file()
    assert not blob.is_symlink()
    assert (tree / "own.gguf").stat().st_size == user.server.gguf.stat().st_size


def test_each_layout_is_as_its_program_wants_it(user: User) -> None:
    for name in ("plain", "studio", "lab"):
        (user.folder / name).mkdir()
    publish(
        user,
        "{path: ./plain, layout: directory}",
        "{path: ./studio, layout: lmstudio}",
        "{path: ./lab, layout: transformerlab}",
    )
    user.apply()
    source = str(user.gguf)
    assert links(user.folder / "plain") == {"smol.gguf": source}
    assert links(user.folder / "studio") == {"ollama/smol/smol.gguf": source}
    assert links(user.folder / "lab") == {"smol.gguf/smol.gguf": source}
    index = json.loads((user.folder / "lab" / "smol.gguf" / "index.json").read_text())
    assert index["model_id"] == index["json_data"]["model_filename"] == "smol.gguf"


def test_a_second_apply_writes_nothing(user: User, tree: Path) -> None:
    publish(user, "{path: ./by-name, layout: transformerlab}")
    user.apply()
    before = snapshot(tree)
    plan = user.paddock("plan", "--detailed-exitcode")
    assert plan.code == 0, plan
    user.apply()
    assert snapshot(tree) == before
    assert published(user) == ("True", "AsDeclared")


def test_the_link_goes_with_the_model_and_with_the_entry(user: User, tree: Path) -> None:
    user.server.create_from_gguf("own")
    publish(user, "{path: ./by-name}")
    user.apply()
    assert links(tree).keys() == {"smol.gguf", "own.gguf"}
    user.server.cli("rm", "own")
    user.apply()
    assert links(tree).keys() == {"smol.gguf"}
    publish(user)
    user.apply()
    assert not tree.exists()
    assert user.gguf.stat().st_size == user.server.gguf.stat().st_size


def test_what_others_have_in_the_folder_stays_bit_by_bit(user: User, tree: Path) -> None:
    (tree / "ollama").mkdir(parents=True)
    (tree / "smol.gguf").write_text("my own file of that name")
    (tree / "other.gguf").symlink_to("/nowhere")
    (tree / "ollama" / "notes.txt").write_text("mine")
    before = snapshot(tree)
    publish(user, "{path: ./by-name}")
    user.apply()
    assert snapshot(tree) == before
    assert published(user) == ("True", "PathTaken")
    assert user.statuses()["smol"][0] == "True"
    publish(user, "{path: ./by-name, layout: lmstudio}")
    user.apply()
    assert links(tree).keys() == {"other.gguf", "ollama/smol/smol.gguf"}
    publish(user)
    user.apply()
    # The folders' own times tell of what was made in them and is gone again.
    after = {path: entry._replace(mtime_ns=0) for path, entry in snapshot(tree).items()}
    assert after == {path: entry._replace(mtime_ns=0) for path, entry in before.items()}
    for path in ("smol.gguf", "other.gguf", "ollama/notes.txt"):
        assert snapshot(tree)[path] == before[path]


def test_a_file_that_took_the_place_of_our_link_is_kept(user: User, tree: Path) -> None:
    publish(user, "{path: ./by-name}")
    user.apply()
    link = tree / "smol.gguf"
    link.unlink()
    link.write_text("mine now")
    user.apply()
    publish(user)
    user.apply()
    assert link.read_text() == "mine now"


def test_a_link_follows_its_file_and_a_replaced_model(user: User, tree: Path) -> None:
    publish(user, "{path: ./by-name}")
    user.apply()
    moved = user.folder / "moved.gguf"
    user.gguf.rename(moved)
    os.utime(moved, (1, 1))
    publish(user, "{path: ./by-name}", models="  smol:\n    source: {gguf: ./moved.gguf}\n")
    user.apply()
    assert links(tree) == {"smol.gguf": str(moved)}
    assert [path.name for path in tree.iterdir()] == ["smol.gguf"]


def test_a_folder_that_is_away_is_not_made_anew(user: User, tree: Path) -> None:
    publish(user, "{path: ./by-name}")
    user.apply()
    tree.rename(user.folder / "away")
    user.apply()
    assert not tree.exists()
    assert published(user) == ("Unknown", "TreeMissing")
    assert user.statuses()["smol"][0] == "True"
    (user.folder / "away").rename(tree)
    user.apply()
    assert published(user) == ("True", "AsDeclared")
    assert links(tree) == {"smol.gguf": str(user.gguf)}


def test_a_parent_that_is_not_there_is_told_and_not_made(user: User) -> None:
    publish(user, "{path: ./drive/by-name}")
    user.apply()
    assert not (user.folder / "drive").exists()
    assert published(user) == ("Unknown", "TreeMissing")


def test_nothing_is_published_into_the_models_folder(user: User) -> None:
    inside = user.server.models_dir / "blobs"
    inside.mkdir(exist_ok=True)
    publish(user, f"{{path: {inside}}}")
    user.apply()
    assert published(user) == ("Unknown", "TreeInStore")
    assert not list(inside.glob("*.gguf"))


def test_a_running_daemon_keeps_the_tree(user: User, tree: Path) -> None:
    publish(user, "{path: ./by-name}")
    with user.daemon() as daemon:
        daemon.wait_ready()
        daemon.wait(lambda: links(tree).keys() == {"smol.gguf"}, "the link is there")
        (tree / "smol.gguf").unlink()
        daemon.wait(lambda: links(tree).keys() == {"smol.gguf"}, "the link is back")
        user.server.create_from_gguf("own")
        daemon.wait(lambda: "own.gguf" in links(tree), "the new model is published")
        user.server.cli("rm", "own")
        daemon.wait(lambda: "own.gguf" not in links(tree), "its link is gone")


def _kill_at_every_step(user: User, killer: Killer, tree: Path, back: str, there: str) -> int:
    """From one layout to another, killed at step after step; gives how many there were."""
    step, ended = 0, Ended(KILLED, 0, "")
    while ended.code == KILLED:
        publish(user, back)
        assert killer.run("apply").code == 0
        publish(user, there)
        ended = killer.run("apply", step=step)
        assert ended.code in (KILLED, 0), ended
        assert all((tree / path).is_file() for path in links(tree)), step
        assert (tree / "mine.txt").read_text() == "mine"
        assert killer.run("apply").code == 0
        layout = "lab" if "transformerlab" in there else "plain"
        expected = {"lab": "smol.gguf/smol.gguf", "plain": "smol.gguf"}[layout]
        assert links(tree) == {expected: str(user.gguf)}, step
        assert not list(tree.rglob("*.paddock-new")), step
        step += 1
    return step - 1


def test_a_tree_survives_a_kill_at_every_step(user: User, tree: Path) -> None:
    tree.mkdir()
    (tree / "mine.txt").write_text("mine")
    plain, lab = "{path: ./by-name}", "{path: ./by-name, layout: transformerlab}"
    with Killer(user.environment, user.folder) as killer:
        assert _kill_at_every_step(user, killer, tree, plain, lab) > 6
        assert _kill_at_every_step(user, killer, tree, lab, plain) > 6
        publish(user)
        assert killer.run("apply").code == 0
    assert [path.name for path in tree.iterdir()] == ["mine.txt"]


def test_a_moved_target_survives_a_kill_at_every_step(user: User, tree: Path) -> None:
    other = user.folder / "other.gguf"
    shutil.copy(user.gguf, other)
    for path in (user.gguf, other):
        os.utime(path, (1, 1))
    entry = "publish:\n  - {path: ./by-name}\n"
    files = ["./smol.gguf", "./other.gguf"]
    with Killer(user.environment, user.folder) as killer:
        step, ended = 0, Ended(KILLED, 0, "")
        while ended.code == KILLED:
            for number, file in enumerate(files):
                user.declare(f"  smol:\n    source: {{gguf: {file}}}\n{entry}")
                # A link to either is as good to Ollama: only a broken one is made anew.
                blob = next((user.server.models_dir / "blobs").glob("sha256-*"), None)
                if blob is not None and blob.is_symlink():
                    blob.unlink()
                ended = killer.run("apply", step=step if number else -1)
            assert ended.code in (KILLED, 0), ended
            assert links(tree).keys() >= {"smol.gguf"}
            assert (tree / "smol.gguf").is_file(), step
            assert killer.run("apply").code == 0
            assert [path.name for path in tree.iterdir()] == ["smol.gguf"], step
            step += 1
            files.reverse()
    assert step > 10
