"""Paddock beside an `ollama serve` of one's own, under the systemd of that user."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from system.hosts import GGUF, UNITS, Host

OLLAMA_UNIT = """\
[Service]
ExecStart=/usr/local/bin/ollama serve
Environment=OLLAMA_HOST=127.0.0.1:11500 OLLAMA_NO_CLOUD=1
"""
SPEC = f"version: 1\nmodels:\n  mine:\n    source: {{gguf: {GGUF}}}\n"
HOME = "/home/alice"


@dataclass
class Alice:
    """A user with a systemd of her own."""

    host: Host
    runtime: str

    def run(self, *command: str) -> str:
        """A command of hers."""
        env = ("env", f"XDG_RUNTIME_DIR={self.runtime}", f"HOME={HOME}")
        return self.host.bed.run(*env, *command, user="alice").out

    def systemctl(self, *arguments: str) -> str:
        return self.run("systemctl", "--user", "--no-pager", *arguments)

    def show(self, unit: str, name: str) -> str:
        return self.systemctl("show", unit, "-P", name).strip()

    def write(self, path: str, text: str) -> None:
        """A file in her home."""
        self.run("mkdir", "-p", str(Path(HOME, path).parent))
        self.host.bed.write(f"{HOME}/{path}", text, owner="alice")


@pytest.fixture
def alice(host: Host) -> Iterator[Alice]:
    """Her manager, with Ollama and Paddock's units in it, and no model yet."""
    bed = host.bed
    uid = bed.run("id", "-u", "alice").out.strip()
    alice = Alice(host, f"/run/user/{uid}")
    bed.run("install", "-d", "-m", "0700", "-o", "alice", alice.runtime, HOME)
    alice.write(".config/systemd/user/ollama.service", OLLAMA_UNIT)
    for unit in ("paddock.service", "paddock.socket"):
        alice.write(f".config/systemd/user/{unit}", (UNITS / "user" / unit).read_text())
    drop_in = "[Service]\nEnvironment=OLLAMA_HOST=127.0.0.1:11500\n"
    alice.write(".config/systemd/user/paddock.service.d/mine.conf", drop_in)
    alice.write(".config/paddock/models.yaml", SPEC)
    alice.run("sh", "-c", "mkdir -p ~/.local/bin; ln -sf /usr/local/bin/paddock ~/.local/bin/")
    bed.run(
        "systemd-run", "--unit=alice", "--uid=alice", "--property=Delegate=yes",
        "--property=Type=notify", f"--setenv=XDG_RUNTIME_DIR={alice.runtime}",
        f"--setenv=HOME={HOME}", "/lib/systemd/systemd", "--user", "--unit=basic.target",
    )  # fmt: skip
    alice.systemctl("start", "ollama")
    yield alice
    bed.systemctl("stop", "alice.service", code=None)
    bed.run("rm", "-rf", HOME, alice.runtime)


def test_it_makes_the_models_of_the_user_and_nothing_of_the_hosts(alice: Alice) -> None:
    host = alice.host
    before = host.tags()
    alice.systemctl("start", "paddock.socket")
    alice.systemctl("start", "paddock.service")
    assert alice.show("paddock", "StatusText") == "1 model is as the file says"
    with contextlib.closing(host.bed.connection(f"{alice.runtime}/paddock.sock")) as connection:
        connection.request("GET", "/api/tags")
        tags = json.loads(connection.getresponse().read())
    assert [model["name"] for model in tags["models"]] == ["mine:latest"]
    assert host.tags() == before
    links = alice.run("find", f"{HOME}/.ollama/models/blobs", "-type", "l", "-printf", "%l\\n")
    assert links.split() == [GGUF]
    mode = host.bed.run("stat", "--format=%a %U", f"{alice.runtime}/paddock.sock").out.strip()
    assert mode == "600 alice"


def test_it_reloads_and_stops_as_the_hosts_does(alice: Alice) -> None:
    alice.systemctl("start", "paddock.service")
    more = SPEC + "  brief:\n    source: {model: mine}\n    system: Be brief.\n"
    alice.write(".config/paddock/models.yaml", more)
    alice.systemctl("reload", "paddock")
    ready = "2 models are as the file says"
    alice.host.bed.wait(lambda: alice.show("paddock", "StatusText") == ready, "the second model")
    alice.systemctl("stop", "paddock.service")
    assert alice.show("paddock", "Result") == "success"


def test_it_is_installed_for_a_user_and_taken_away_again_without_any_rights(alice: Alice) -> None:
    config = f"{HOME}/.config"
    made = [f"{config}/paddock/models.yaml"]
    made += [f"{config}/systemd/user/paddock.{kind}" for kind in ("service", "socket")]
    made += [f"{config}/systemd/user/paddock.service.d/installed.conf"]
    alice.run(
        "rm", "-r", f"{config}/paddock", f"{config}/systemd/user/paddock.service.d", *made[1:3]
    )
    files = ("find", config, "-printf", "%p %y %m %l\n")
    before = sorted(alice.run(*files).splitlines())
    said = alice.run("/usr/local/bin/paddock", "install-service", "--user")
    for path in made:
        assert f"wrote {path}\n" in said
    assert alice.show("paddock.service", "ActiveState") == "active"
    settings = alice.show("paddock.service", "Environment").split()
    assert "OLLAMA_HOST=http://127.0.0.1:11500" in settings
    assert f"OLLAMA_MODELS={HOME}/.ollama/models" in settings
    said = alice.run("/usr/local/bin/paddock", "uninstall-service", "--user")
    for path in made:
        assert f"removed {path}\n" in said
    assert sorted(alice.run(*files).splitlines()) == before
