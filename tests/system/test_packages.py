"""`make packages`: the same bytes from the same commit, whoever makes them; one version in all."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

import paddock
from system.debs import RAISED, ROOT, copied, packages

pytestmark = pytest.mark.timeout(300)  # a test that comes first makes packages, which compress


def digests(made: dict[str, Path]) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in made.values()}


def test_another_build_elsewhere_under_another_umask_gives_the_same_bytes(
    made: dict[str, Path], tmp_path: Path
) -> None:
    command = ["git", "log", "-1", "--format=%ct"]
    commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    before = os.umask(0o077)
    try:
        root = copied(tmp_path / "elsewhere")
        epoch, bytecode = commit.stdout.strip(), {"PYTHONDONTWRITEBYTECODE": ""}
        env = {"SOURCE_DATE_EPOCH": epoch, "TZ": "Asia/Tokyo", "LC_ALL": "C"} | bytecode
        again = packages(root, tmp_path / "dist", **env)
    finally:
        os.umask(before)
    assert digests(again) == digests(made)
    assert len(made) == 3


def field(package: Path, name: str) -> str:
    asked = ["dpkg-deb", "--field", package, name]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def test_every_package_has_the_version_that_is_in_one_place(
    made: dict[str, Path], made_higher: dict[str, Path]
) -> None:
    for version, found in ((paddock.__version__, made), (RAISED, made_higher)):
        names = {path.name for path in (found[".whl"], found[".gz"])}
        assert names == {f"paddock-{version}-py3-none-any.whl", f"paddock-{version}.tar.gz"}
        assert field(found[".deb"], "Version") == f"{version}-1"
    shown = ["dpkg-deb", "--fsys-tarfile", made_higher[".deb"]]
    data = subprocess.run(shown, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for page in ("man1/paddock.1.gz", "man5/models.yaml.5.gz"):
            member = archive.extractfile(f"./usr/share/man/{page}")
            assert member is not None
            assert f'"Paddock {RAISED}"'.encode() in gzip.decompress(member.read())


def test_the_deb_depends_on_the_python_that_it_was_made_for(made: dict[str, Path]) -> None:
    asked = ["/usr/bin/python3", "-Ic", "import sys; print(sys.version_info[1])"]
    minor = int(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
    depends = field(made[".deb"], "Depends")
    assert f"python3 (>= 3.{minor}), python3 (<< 3.{minor + 1}), " in depends


def test_lintian_finds_nothing_that_is_not_accounted_for(made: dict[str, Path]) -> None:
    command = ["lintian", "--allow-root", "--fail-on", "error,warning", made[".deb"]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
