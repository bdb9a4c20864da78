"""`paddock install-service` and what undoes it, on a host with a real systemd and a real Ollama."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from system.hosts import GGUF, MODELS_DIR, SOCKET, SPEC, Host

UNITS = "/etc/systemd/system"
MADE = (
    SPEC,
    f"{UNITS}/paddock.service",
    f"{UNITS}/paddock.socket",
    f"{UNITS}/paddock.service.d/installed.conf",
    f"{UNITS}/paddock.socket.d/installed.conf",
)


@pytest.fixture
def bare(host: Host) -> Iterator[Host]:
    """A host with Ollama, a model in it, and nothing of Paddock but the command."""
    host.bed.run("rm", "-rf", *MADE, "/etc/paddock", f"{UNITS}/paddock.service.d")
    host.bed.run("rm", "-rf", f"{UNITS}/paddock.socket.d", "/run/systemd/system/paddock.service.d")
    host.bed.systemctl("daemon-reload")
    host.bed.write("/tmp/Modelfile", f"FROM {GGUF}\nSYSTEM Be brief.\n")
    host.bed.run("/usr/bin/env", "HOME=/tmp", "ollama", "create", "theirs", "-f", "/tmp/Modelfile")
    yield host
    host.bed.systemctl("disable", "--now", "paddock.socket", "paddock.service", code=None)


def etc(host: Host) -> list[str]:
    """All that is in /etc."""
    facts = "%p %y %m %u %l "
    kinds = ("-type", "d", "-printf", f"{facts}\n", "-o", "-printf", f"{facts} %s\n")
    return sorted(host.bed.run("find", "/etc", *kinds).out.splitlines())


def test_it_makes_a_service_that_keeps_what_is_installed_and_uninstalling_undoes_all_of_it(
    bare: Host,
) -> None:
    manifests = ("find", f"{MODELS_DIR}/manifests", "-type", "f", "-printf", "%p %s %T@\n")
    models, before = bare.bed.run(*manifests).out, etc(bare)
    said = bare.paddock("install-service", user="root")
    for path in MADE:
        assert f"wrote {path}\n" in said
    assert "ran systemctl enable --now paddock.socket paddock.service\n" in said
    for unit in ("paddock.service", "paddock.socket"):
        assert bare.bed.show(unit, "ActiveState") == "active"
        assert bare.bed.systemctl("is-enabled", unit).strip() == "enabled"
    assert bare.bed.show("paddock", "StatusText") == "1 model is as the file says"
    assert bare.ready() == {"theirs": ("True", "AsDeclared")}
    assert "prune: true" not in bare.bed.run("cat", SPEC).out
    assert bare.bed.run("stat", "--format=%U", SOCKET).out == "ollama\n"

    said = bare.paddock("install-service", user="root")
    for path in MADE:
        assert f"kept {path}\n" in said

    said = bare.paddock("uninstall-service", user="root")
    for path in MADE:
        assert f"removed {path}\n" in said
    assert etc(bare) == before
    assert bare.bed.show("paddock", "LoadState") == "not-found"
    assert not bare.bed.path(SOCKET).exists()
    assert bare.bed.run(*manifests).out == models


def test_a_dry_run_tells_the_same_and_does_nothing(bare: Host) -> None:
    before = etc(bare)
    said = bare.paddock("install-service", "--dry-run", user="root")
    for path in MADE:
        assert f"would write {path}\n" in said
    assert "would run systemctl enable --now paddock.socket paddock.service\n" in said
    assert etc(bare) == before
    assert bare.bed.show("paddock", "LoadState") == "not-found"


def test_an_installation_in_a_closed_folder_is_refused_with_the_line_that_opens_it(
    bare: Host,
) -> None:
    before = etc(bare)
    bare.bed.run("chmod", "0700", sys.prefix)
    try:
        said = bare.paddock("install-service", user="root", code=1)
    finally:
        bare.bed.run("chmod", "0755", sys.prefix)
    assert f"setfacl -m u:ollama:x {sys.prefix}" in said
    assert etc(bare) == before


def test_a_unit_of_somebody_else_is_not_overwritten(bare: Host) -> None:
    theirs = f"{UNITS}/paddock.service"
    bare.bed.write(theirs, "[Service]\nExecStart=/bin/true\n")
    said = bare.paddock("install-service", user="root", code=1)
    assert f"{theirs} is there and not as it would be made: move it away" in said
    assert bare.bed.run("cat", theirs).out == "[Service]\nExecStart=/bin/true\n"


def test_an_ollama_elsewhere_is_found_as_it_runs_and_a_file_that_was_edited_is_left(
    bare: Host,
) -> None:
    drop_in = f"{UNITS}/ollama.service.d/elsewhere.conf"
    moved = '[Service]\nEnvironment="OLLAMA_MODELS=/srv/own models" OLLAMA_HOST=0.0.0.0:11500\n'
    bare.bed.write(drop_in, moved)
    bare.bed.run("install", "-d", "-o", "ollama", "-g", "ollama", "/srv/own models")
    bare.bed.systemctl("daemon-reload")
    bare.bed.systemctl("restart", "ollama")
    try:
        bare.bed.wait(
            lambda: bare.bed.run("curl", "-sf", "http://127.0.0.1:11500", code=None).code == 0,
            "Ollama answers there",
        )
        bare.paddock("install-service", user="root")
        line = f"  smollm2:\n    source: {{gguf: {GGUF}}}\n"
        bare.declare(line)
        bare.bed.systemctl("reload", "paddock")
        bare.bed.wait(
            lambda: bare.ready().get("smollm2", ("", ""))[0] == "True", "it is made there"
        )
        links = bare.bed.run("find", "/srv/own models/blobs", "-type", "l", "-printf", "%l\n").out
        assert links == f"{GGUF}\n"
        said = bare.paddock("uninstall-service", user="root")
        assert f"kept {SPEC}: it was changed\n" in said
        assert GGUF in bare.bed.run("cat", SPEC).out
    finally:
        bare.bed.run("rm", drop_in)
        bare.bed.systemctl("daemon-reload")
        bare.bed.systemctl("restart", "ollama")
        bare.bed.wait(lambda: bare.ollama("version"), "Ollama answers again")


def test_what_was_not_installed_cannot_be_uninstalled(bare: Host) -> None:
    said = bare.paddock("uninstall-service", user="root", code=1)
    assert "made nothing here" in said


def test_a_user_without_rights_is_told_both_ways(bare: Host) -> None:
    said = bare.paddock("install-service", user="alice", code=1)
    assert "use sudo, or --user" in said
