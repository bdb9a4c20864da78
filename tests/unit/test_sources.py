"""A look at a source: what it is, what it may not be, and one line that says so."""

from __future__ import annotations

import errno
import os
import pwd
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from paddock.core.observed import SourceMissing, Unknown
from paddock.edges.sources import Rules, look
from paddock.edges.sources_reach import (
    AclEntry,
    Closed,
    Reader,
    acl_rights,
    closed_part,
    parse_acl,
)
from paddock.errors import shown

NOBODY = Reader(65534, "nobody", frozenset({65534}))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    return path


def _refused(path: Path | str, rules: Rules | None = None) -> Unknown:
    found = look(str(path), rules or Rules())
    assert isinstance(found, Unknown), found
    assert found.message.isprintable(), "one line, with nothing that a terminal obeys"
    assert len(found.message) < 1500
    return found


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (os.mkfifo, "a FIFO"),
        (_socket, "a socket"),
        (Path.mkdir, "a folder"),
        (lambda path: path.symlink_to("/dev/zero"), "a device"),
        (lambda path: path.symlink_to("/dev/null"), "a device"),
        (lambda path: path.symlink_to("/"), "a folder"),
    ],
)
def test_only_a_regular_file_is_a_source(
    tmp_path: Path, make: Callable[[Path], None], kind: str
) -> None:
    path = tmp_path / "x"
    make(path)
    what = f"{path} is {kind}, not a regular file; name a GGUF file"
    assert _refused(path) == Unknown("NotAFile", what)


def test_a_chain_of_links_is_resolved_to_its_end(tmp_path: Path, file: Path) -> None:
    (tmp_path / "folder").symlink_to(tmp_path)
    for n in range(30):
        (tmp_path / f"link{n}").symlink_to(f"link{n + 1}")
    (tmp_path / "link30").symlink_to("folder/model.gguf")
    found = look(str(tmp_path / "folder" / "link0"))
    assert isinstance(found, tuple)
    real, stat = found
    facts = file.stat()
    assert (real, stat.inode, stat.size_bytes) == (str(file), facts.st_ino, 4)


@pytest.mark.parametrize("links", [{"a": "a"}, {"a": "b", "b": "a"}])
def test_links_in_a_circle_are_told(tmp_path: Path, links: dict[str, str]) -> None:
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    what = f"cannot look at {tmp_path}/a: too many levels of symbolic links"
    hint = "its links lead in a circle, or there are too many; name the file itself"
    assert _refused(tmp_path / "a") == Unknown("SourceUnreadable", f"{what}; {hint}")


def test_a_link_that_leads_nowhere_is_missing_and_says_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("drive/x.gguf")
    what = f"{tmp_path}/a does not exist: it leads to {tmp_path}/drive/x.gguf"
    assert look(str(tmp_path / "a")) == SourceMissing(what)
    assert look(str(tmp_path / "c")) == SourceMissing(f"{tmp_path}/c does not exist")


def test_what_lies_below_a_file_is_missing(file: Path) -> None:
    assert isinstance(look(f"{file}/x"), SourceMissing)


@pytest.mark.parametrize(
    ("path", "what"),
    [
        (f"/{'x' * 300}", "file name too long; use a shorter path"),
        ("/x\0y", r'"/x\u0000y" cannot be a path'),
        ("/\ud800", r'"/\ud800" cannot be a path'),
    ],
)
def test_a_path_that_no_file_can_have_is_told_in_a_short_line(path: str, what: str) -> None:
    refused = _refused(path)
    assert refused.reason == "SourceUnreadable"
    assert what in refused.message


def test_a_long_path_to_nowhere_is_told_in_a_short_line() -> None:
    found = look("/x" * 2500)
    assert isinstance(found, SourceMissing)
    assert len(found.message) < 350


@pytest.mark.parametrize("name", ["a b", "it's", 'a"b', "a\nb", "é\u202egguf", "a\x1b[31m", "😀"])
def test_any_name_that_a_file_can_have_is_a_name_of_a_source(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"GGUF")
    found = look(str(path))
    assert isinstance(found, tuple)
    assert found[0] == str(path)
    path.unlink()
    path.mkdir()
    assert _refused(path).message.startswith(f"{shown(str(path))} is a folder")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/a b/ü", "/a b/ü"),
        ("/a\nb", r'"/a\nb"'),
        ("/\u202e", r'"/\u202e"'),
        ("x" * 301, f'"{"x" * 150}\\u2026{"x" * 150}"'),
    ],
)
def test_a_name_is_shown_as_it_is_or_quoted(text: str, told: str) -> None:
    assert shown(text) == told


def test_a_root_is_a_wall_for_the_real_path(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "x.gguf").write_bytes(b"GGUF")
    (inside / "out").symlink_to(outside / "x.gguf")
    (inside / "far").symlink_to(outside)
    (outside / "in").symlink_to(inside / "x.gguf")
    (tmp_path / "inside2").mkdir()
    (tmp_path / "inside2" / "x.gguf").write_bytes(b"GGUF")
    rules = Rules(roots=(str(inside),))

    for path in (inside / "x.gguf", outside / "in", inside / "far" / "in"):
        found = look(str(path), rules)
        assert isinstance(found, tuple), found
        assert found[0] == str(inside / "x.gguf")
    outsiders = ["inside/out", "inside/far/x.gguf", "outside/x.gguf", "inside2/x.gguf"]
    for name in [*outsiders, "inside/../outside/x.gguf"]:
        refused = _refused(tmp_path / name, rules)
        assert refused.reason == "SourceOutsideRoots"
        assert refused.message.startswith(f"{tmp_path / name}")
        assert refused.message.endswith(f"; move it below {inside}, or set PADDOCK_ROOTS")
    leads = f"{inside}/out (it leads to {outside}/x.gguf) lies outside the folders"
    assert leads in _refused(inside / "out", rules).message


def test_a_root_may_be_a_link_and_there_may_be_several(tmp_path: Path, file: Path) -> None:
    (tmp_path / "root").symlink_to(tmp_path)
    rules = Rules(roots=("/nowhere", str(tmp_path / "root")))
    assert isinstance(look(str(file), rules), tuple)
    assert isinstance(look(str(file), Rules(roots=("/",))), tuple)
    assert _refused(file, Rules(roots=("/nowhere",))).reason == "SourceOutsideRoots"


def test_what_is_outside_the_roots_is_not_told_more_about(tmp_path: Path) -> None:
    (tmp_path / "fifo").symlink_to("/dev/zero")
    assert _refused(tmp_path / "fifo", Rules(roots=(str(tmp_path),))).reason == "SourceOutsideRoots"


def test_of_the_models_folder_only_whole_blobs_are_sources(tmp_path: Path) -> None:
    digest = f"sha256-{'0' * 64}"
    for name in (f"blobs/{digest}", f"blobs/{digest}-partial", "manifests/a", "mine.gguf"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"GGUF")
    rules = Rules(store=str(tmp_path))
    for name in (f"blobs/{digest}", "mine.gguf"):
        assert isinstance(look(str(tmp_path / name), rules), tuple)
    for name in (f"blobs/{digest}-partial", "manifests/a"):
        assert _refused(tmp_path / name, rules).reason == "SourceInStore"


# What is closed to whom.


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that everybody may pass, whatever lies above it."""
    real_stat = Path.stat

    def stat(path: Path, **options: bool) -> os.stat_result:
        found = real_stat(path, **options)
        return found if path.is_relative_to(tmp_path) else real_stat(Path("/"), **options)

    monkeypatch.setattr(Path, "stat", stat)
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.gguf").write_bytes(b"GGUF")
    tmp_path.chmod(0o755)
    return tmp_path


def test_the_part_of_the_path_that_is_closed_is_named_with_what_opens_it(tree: Path) -> None:
    file = str(tree / "a/b/x.gguf")
    assert closed_part(file, NOBODY) is None
    (tree / "a").chmod(0o750)
    (tree / "a/b").chmod(0o700)
    closed = closed_part(file, NOBODY)
    assert closed == Closed(str(tree / "a"), is_folder=True)
    assert closed.hint(NOBODY) == f"let it: setfacl -m u:nobody:x {tree}/a"
    (tree / "a").chmod(0o711)
    assert closed_part(file, NOBODY) == Closed(str(tree / "a/b"), is_folder=True)
    (tree / "a/b").chmod(0o755)
    (tree / "a/b/x.gguf").chmod(0o600)
    closed = closed_part(file, NOBODY)
    assert closed == Closed(file, is_folder=False)
    assert closed.hint(NOBODY) == f"let it: setfacl -m u:nobody:r {file}"


def test_owner_group_and_others_are_told_apart(tree: Path) -> None:
    file = tree / "a/b/x.gguf"
    facts = file.stat()
    owner = Reader(facts.st_uid or 1, "owner", frozenset())
    member = Reader(65534, "nobody", frozenset({facts.st_gid}))
    if facts.st_uid == 0:
        for path in (tree, tree / "a", tree / "a/b", file):
            os.chown(path, 1, facts.st_gid)
    file.chmod(0o044)
    assert closed_part(str(file), owner) == Closed(str(file), is_folder=False)
    assert closed_part(str(file), member) is None
    file.chmod(0o404)
    assert closed_part(str(file), member) == Closed(str(file), is_folder=False)
    assert closed_part(str(file), NOBODY) is None
    assert closed_part(str(file), Reader(0, "root", frozenset())) is None


def test_root_is_told_what_the_user_of_ollama_may_not_read(tree: Path) -> None:
    file = tree / "a/b/x.gguf"
    rules = Rules(reader=NOBODY)
    assert isinstance(look(str(file), rules), tuple)
    file.chmod(0o600)
    what = f"Ollama cannot read {file}: permission denied for its user nobody"
    hint = f"let it: setfacl -m u:nobody:r {file}"
    assert _refused(file, rules) == Unknown("SourceUnreadable", f"{what}; {hint}")
    (tree / "a").chmod(0o700)
    what = f"Ollama cannot see {file}: its user nobody may not pass {tree}/a"
    hint = f"let it: setfacl -m u:nobody:x {tree}/a"
    assert _refused(file, rules) == Unknown("NotVisibleToOllama", f"{what}; {hint}")


def _acl(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


OWNER, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 16, 32


@pytest.mark.parametrize(
    ("entries", "allowed"),
    [
        ([(USER, 4, 65534), (GROUP_OBJ, 0, 0), (MASK, 4, 0), (OTHER, 0, 0)], True),
        ([(USER, 4, 65534), (GROUP_OBJ, 0, 0), (MASK, 0, 0), (OTHER, 4, 0)], False),
        ([(USER, 4, 1000), (GROUP_OBJ, 0, 0), (MASK, 4, 0), (OTHER, 0, 0)], False),
        ([(USER, 0, 65534), (GROUP_OBJ, 4, 0), (MASK, 4, 0), (OTHER, 4, 0)], False),
        ([(GROUP_OBJ, 0, 0), (GROUP, 4, 65534), (MASK, 4, 0), (OTHER, 0, 0)], True),
        ([(GROUP_OBJ, 0, 0), (GROUP, 4, 65534), (MASK, 1, 0), (OTHER, 4, 0)], False),
        ([(GROUP_OBJ, 4, 0), (GROUP, 4, 7), (MASK, 4, 0), (OTHER, 0, 0)], False),
        ([(GROUP_OBJ, 0, 0), (OTHER, 4, 0)], True),
    ],
)
def test_an_acl_counts_as_in_the_kernel(entries: list[tuple[int, int, int]], allowed: bool) -> None:
    acl = parse_acl(_acl((OWNER, 7, 0), *entries))
    assert acl[1:] == tuple(AclEntry(*entry) for entry in entries)
    assert acl_rights(acl, NOBODY, group=7, wanted=4) is allowed


@pytest.mark.parametrize("data", [b"", b"\2\0\0", b"\3\0\0\0", _acl() + b"x", bytes(12)])
def test_what_is_no_acl_has_no_entries(data: bytes) -> None:
    assert parse_acl(data) == ()


def test_an_acl_opens_what_the_mode_closes(tree: Path) -> None:
    file = tree / "a/b/x.gguf"
    file.chmod(0o600)
    undefined = 0xFFFFFFFF
    entries = [
        (OWNER, 6, undefined),
        (USER, 4, 65534),
        (GROUP_OBJ, 0, undefined),
        (MASK, 4, undefined),
        (OTHER, 0, undefined),
    ]
    try:
        os.setxattr(file, "system.posix_acl_access", _acl(*entries))
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            pytest.skip("this file system has no ACLs")
        raise
    assert closed_part(str(file), NOBODY) is None
    assert closed_part(str(file), Reader(1234, "other", frozenset())) is not None


def test_a_reader_has_the_groups_of_a_login() -> None:
    me = pwd.getpwuid(os.geteuid())
    found = Reader.of(os.geteuid())
    assert (found.uid, found.name) == (os.geteuid(), me.pw_name)
    assert me.pw_gid in found.groups
    assert Reader.of(987654) == Reader(987654, "987654", frozenset())
