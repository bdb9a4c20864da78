"""`install-service` and `uninstall-service`: Paddock as a service of systemd, and no more.

Finds out how Ollama runs, says what stands in the way before it does anything, and then tells each
thing that it does. What it made it writes down, and takes away again what nobody changed since.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from paddock.cli import views
from paddock.cli.export import spec_of_installed
from paddock.cli.install_found import (
    Scope,
    found_server,
    made_before,
    obstacles,
    program_path,
)
from paddock.core.install import RECEIPT, SPEC, digest, files, receipt
from paddock.errors import PaddockError
from paddock.settings import load_settings

_STARTED = ("paddock.socket", "paddock.service")


def install(options: argparse.Namespace) -> int:
    """Put the service in place and start it."""
    scope = Scope.of(is_user=options.user)
    server = found_server(scope)
    program = program_path(sys.argv[0], sys.executable)
    wanted = files(
        scope.place,
        server,
        program,
        units=scope.units(),
        version=scope.manager.version(),
        spec=_spec(server.host, server.models_dir),
    )
    if found := obstacles(scope, server, wanted, program=program):
        raise PaddockError("\n".join(found), reason="NotInstalled")
    _write(scope, wanted, dry_run=options.dry_run)
    _systemctl(scope, "daemon-reload", dry_run=options.dry_run)
    _systemctl(scope, "enable", "--now", *_STARTED, dry_run=options.dry_run)
    views.note(f"{scope.etc(SPEC)} holds what is installed: edit it, and it is made so")
    return 0


def uninstall(options: argparse.Namespace) -> int:
    """Take away what `install-service` made, and what nobody changed since."""
    scope = Scope.of(is_user=options.user)
    path = Path(scope.etc(RECEIPT))
    if (before := made_before(scope)) is None:
        what = f"{path} is missing: paddock install-service made nothing here"
        raise PaddockError(what, reason="NotInstalled")
    made, folders = before
    try:
        _systemctl(scope, "disable", "--now", *_STARTED, dry_run=options.dry_run)
    except PaddockError as error:
        views.note(error.message)  # somebody removed a unit: the rest is to go all the same
    for file in reversed(made):
        _remove(Path(file), made[file], dry_run=options.dry_run)
    _remove(path, digest(path.read_text()), dry_run=options.dry_run)
    for folder in reversed(folders):
        _remove_folder(Path(folder), dry_run=options.dry_run)
    _systemctl(scope, "daemon-reload", dry_run=options.dry_run)
    return 0


def _systemctl(scope: Scope, *words: str, dry_run: bool) -> None:
    line = " ".join(["systemctl", *(["--user"] if scope.is_user else []), *words])
    if dry_run:
        _would("run", line)
        return
    scope.manager.do(*words)
    _did("run", line)


def _spec(host: str, models_dir: str) -> str:
    return spec_of_installed(load_settings({"ollama_host": host, "models_dir": models_dir}))


def _write(scope: Scope, wanted: dict[str, str], *, dry_run: bool) -> None:
    """Writes what is not so already, but models.yaml only where there is none. After each file it
    is written down what was made: an install that is broken off can be undone."""
    made, folders = dict[str, str](), list[str]()
    for path, text in wanted.items():
        file = Path(path)
        if file.exists() and (file.name == SPEC or file.read_text() == text):
            _did("keep", path)
            continue
        if dry_run:
            _would("write", path)
            continue
        folders += _make_folders(file.parent)
        _create(file, text)
        made[path] = text
        _keep_receipt(scope, made, folders)
        _did("write", path)


def _make_folders(folder: Path) -> list[str]:
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o755)
        path.chmod(0o755)
    return [str(path) for path in reversed(missing)]


def _create(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.new")
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        os.fchmod(file.fileno(), 0o644)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _keep_receipt(scope: Scope, made: dict[str, str], folders: list[str]) -> None:
    """Writes down what was made, beside what an earlier install made."""
    path = Path(scope.etc(RECEIPT))
    before, old_folders = made_before(scope) or ({}, ())
    folders += _make_folders(path.parent)
    _create(path, receipt(made, (*old_folders, *folders), earlier=before))


def _remove(path: Path, was: str, *, dry_run: bool) -> None:
    try:
        is_same = digest(path.read_text()) == was
    except FileNotFoundError:
        return
    if not is_same:
        _did("keep", f"{path}: it was changed")
    elif dry_run:
        _would("remove", str(path))
    else:
        path.unlink()
        _did("remove", str(path))


def _remove_folder(path: Path, *, dry_run: bool) -> None:
    if dry_run or not path.is_dir() or any(path.iterdir()):
        return
    path.rmdir()
    _did("remove", str(path))


_PAST = {"run": "ran", "write": "wrote", "remove": "removed", "keep": "kept"}


def _did(verb: str, what: str) -> None:
    views.line(f"{_PAST[verb]} {what}")


def _would(verb: str, what: str) -> None:
    views.line(f"would {verb} {what}")
