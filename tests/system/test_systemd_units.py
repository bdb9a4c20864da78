"""The unit files of `systemd/`, as systemd itself reads and judges them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from system.bed import Bed, booted
from system.hosts import OLLAMA_UNIT, UNITS, python_paths

SYSTEM = ("paddock.service", "paddock.socket")
EXPOSURE = 1.6


@pytest.fixture(scope="module")
def bed(bedding: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """A systemd with nothing of ours."""
    with booted(tmp_path_factory.mktemp("bed"), python_paths()) as bed:
        bed.run("install", "-D", "/bin/true", "/usr/local/bin/paddock")
        bed.run("install", "-D", "/bin/true", "/root/.local/bin/paddock")
        bed.write(
            "/etc/systemd/system/ollama.service", OLLAMA_UNIT.replace("ollama serve", "paddock")
        )
        for unit in SYSTEM:
            bed.run("install", "-m", "0644", UNITS / unit, "/etc/systemd/system")
        yield bed


@pytest.mark.parametrize("unit", SYSTEM)
def test_systemd_finds_nothing_wrong_in_a_unit(bed: Bed, unit: str) -> None:
    done = bed.run("systemd-analyze", "verify", f"/etc/systemd/system/{unit}")
    assert done.out + done.err == ""


@pytest.mark.parametrize("unit", SYSTEM)
def test_systemd_finds_nothing_wrong_in_a_unit_of_a_user(bed: Bed, unit: str) -> None:
    done = bed.run(
        "env", "XDG_RUNTIME_DIR=/run", "systemd-analyze", "verify", "--user", UNITS / "user" / unit
    )
    assert done.out + done.err == ""


def test_the_service_is_as_hardened_as_it_can_be(bed: Bed) -> None:
    done = bed.run(
        "systemd-analyze", "security", "--no-pager", "--offline=true", UNITS / "paddock.service"
    )
    found = re.search(r"Overall exposure level for paddock.service: ([\d.]+)", done.out)
    assert found is not None, done
    assert float(found[1]) <= EXPOSURE, done.out


def test_the_drop_ins_are_read_without_a_word_of_complaint(bed: Bed) -> None:
    for unit in ("paddock.service", "ollama.service"):
        folder = f"/etc/systemd/system/{unit}.d"
        bed.run("mkdir", "-p", folder)
        for file in sorted((UNITS / f"{unit}.d").iterdir()):
            bed.run("install", "-m", "0644", file, folder)
        done = bed.run("systemd-analyze", "verify", f"/etc/systemd/system/{unit}")
        # The kind of service that is only for newer systemds is left out by older ones.
        unknown = "Failed to parse service type, ignoring: notify-reload"
        said = [line for line in (done.out + done.err).splitlines() if unknown not in line]
        assert said == []
        bed.run("rm", "-r", folder)


def test_sysusers_makes_ollamas_user_once(bed: Bed) -> None:
    for _ in range(2):
        bed.run("systemd-sysusers", UNITS / "sysusers.conf")
        entry = bed.run("getent", "passwd", "ollama").out.strip().split(":")
        assert entry[4:] == ["Ollama", "/usr/share/ollama", "/usr/sbin/nologin"]
    assert len(bed.run("grep", "^ollama:", "/etc/passwd").out.splitlines()) == 1


def test_tmpfiles_makes_the_folders_and_leaves_a_home_as_it_is(bed: Bed) -> None:
    home = "/usr/share/ollama"
    ask = ("stat", "--format=%n %U %G %a", "/run/paddock", "/etc/paddock", home)
    made = "/run/paddock ollama ollama 755\n/etc/paddock root root 755\n"
    bed.run("systemd-sysusers", UNITS / "sysusers.conf")
    bed.run("systemd-tmpfiles", "--create", UNITS / "tmpfiles.conf")
    assert bed.run(*ask).out == made + f"{home} ollama ollama 755\n"
    bed.run("chmod", "0750", home)
    bed.run("chown", "root", home)
    bed.run("systemd-tmpfiles", "--create", UNITS / "tmpfiles.conf")
    assert bed.run(*ask).out == made + f"{home} root ollama 750\n"
