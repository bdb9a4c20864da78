"""What `install-service` finds on this host: how Ollama runs, and what stands in the way.

Looks only: at Ollama's unit and its process, at who may reach what, at the files that are there.
"""

from __future__ import annotations

import os
import pwd
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import paddock
from paddock.core.install import (
    RECEIPT,
    SPEC,
    UNITS,
    Place,
    Server,
    Units,
    digest,
    read_receipt,
)
from paddock.edges.sources_reach import Reader, closed_part
from paddock.edges.systemd_manager import BOOTED, Manager, environment_of, shipped_units
from paddock.errors import PaddockError, words
from paddock.settings import load_settings, parse_host

OLLAMA = "ollama.service"
_SYSTEM = Place("/etc/systemd/system", "/etc/paddock", "/usr/lib/systemd/system")


@dataclass(frozen=True, slots=True)
class Scope:
    """For whom it is: the host, or oneself."""

    is_user: bool
    place: Place
    manager: Manager

    @classmethod
    def of(cls, *, is_user: bool) -> Self:
        """Raises PaddockError where there is no such manager, or one may not tell it anything."""
        if not BOOTED.is_dir():
            raise PaddockError(
                "this host is not run by systemd; start `paddock run` by other means"
            )
        if not is_user and os.geteuid() != 0:
            what = "installing for the host needs root: use sudo, or --user for your own Ollama"
            raise PaddockError(what, reason="NotPermitted")
        config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        units, etc = str(config / "systemd" / "user"), str(config / "paddock")
        own = Place(units, etc, "/usr/lib/systemd/user")
        return cls(is_user, own if is_user else _SYSTEM, Manager(is_user=is_user))

    def etc(self, name: str) -> str:
        """A file of Paddock's."""
        return str(Path(self.place.etc, name))

    def units(self) -> Units:
        """Those that a package of this host's has put in place, else those that Paddock ships."""
        texts = dict(shipped_units(is_user=self.is_user))
        packaged = {name: Path(self.place.packaged, name) for name in UNITS}
        if not all(path.is_file() for path in packaged.values()):
            return Units(texts)
        texts |= {name: path.read_text(encoding="utf-8") for name, path in packaged.items()}
        return Units(texts, are_packaged=True)


def found_server(scope: Scope) -> Server:
    """Ollama, as its service runs. Raises PaddockError where there is none."""
    shown = scope.manager.show(OLLAMA, "LoadState", "MainPID", "User", "Group")
    pid = int(shown["MainPID"] or 0)
    if pid > 0:
        environ = environment_of(pid)
        home = environ.get("HOME") or str(Path.home())
        models = environ.get("OLLAMA_MODELS") or str(Path(home, ".ollama", "models"))
        host = parse_host(environ.get("OLLAMA_HOST", ""))
        user, group = (None, None) if scope.is_user else _account(shown["User"], shown["Group"])
        return Server(user, group, host, models)
    if scope.is_user:
        settings = load_settings({})
        return Server(None, None, settings.url, str(settings.models_path))
    if shown["LoadState"] == "loaded":
        raise PaddockError(f"{OLLAMA} does not run: systemctl start {OLLAMA}", reason="NotRunning")
    what = f"there is no {OLLAMA} here: install Ollama as a service, or use --user for your own"
    raise PaddockError(what, reason="NotRunning")


def _account(user: str, group: str) -> tuple[str, str]:
    user = user or "root"
    if group:
        return user, group
    import grp

    return user, grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name


def program_path(called: str, python: str) -> str:
    """How this Paddock is started again, from anywhere, as a unit writes it."""
    path = Path(called).absolute()
    words = [python, "-m", "paddock"] if path.suffix == ".py" else [str(path)]
    return " ".join(shlex.quote(word).replace("%", "%%") for word in words)


def obstacles(scope: Scope, server: Server, wanted: dict[str, str], *, program: str) -> list[str]:
    """What stands in the way, a line each, with what to do about it."""
    found = [*_foreign(scope, wanted), *_hiding(scope)]
    if not Path(server.models_dir).is_dir():
        found.append(f"{server.models_dir} is not there: run Ollama once, so that it makes it")
    if server.user is not None:
        reader = Reader.of(pwd.getpwnam(server.user).pw_uid)
        found += _closed(reader, program)
    return found


def made_before(scope: Scope) -> tuple[dict[str, str], tuple[str, ...]] | None:
    """The files with their digests, and the folders, that an install made; None where none did.
    Raises PaddockError where it cannot be told."""
    path = Path(scope.etc(RECEIPT))
    try:
        return read_receipt(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise PaddockError(f"{path} cannot be read: {words(error)}") from error


def _foreign(scope: Scope, wanted: dict[str, str]) -> list[str]:
    """Units that are there, and that we neither made nor would make the same."""
    ours, _ = made_before(scope) or ({}, ())
    return [
        f"{path} is there and not as it would be made: move it away"
        for path, text in wanted.items()
        if Path(path).name != SPEC and _digest(Path(path)) not in {digest(text), ours.get(path), ""}
    ]


def _hiding(scope: Scope) -> list[str]:
    """Units that hide those of a package, because they were there before it."""
    if not scope.units().are_packaged:
        return []
    undo = f"paddock uninstall-service{' --user' if scope.is_user else ''}"
    paths = [Path(scope.place.units, name) for name in UNITS]
    return [
        f"{path} hides the unit of the package: {undo}, or move it away"
        for path in paths
        if os.path.lexists(path)
    ]


def _digest(path: Path) -> str | None:
    """Of a file's text; empty where there is none, None for anything else."""
    try:
        return digest(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeError):
        return None


def _closed(reader: Reader, program: str) -> list[str]:
    """What of this installation is closed to Ollama's user."""
    needed = [
        shlex.split(program)[0],
        sys.executable,
        os.path.realpath(sys.executable),
        paddock.__file__,
    ]
    found = list[str]()
    for path in needed:
        for real in dict.fromkeys((path, os.path.realpath(path))):
            closed = closed_part(real, reader)
            if closed is not None:
                what = f"{reader.name} cannot reach {real}: {closed.path} is closed to it"
                found.append(f"{what}; {closed.hint(reader)}")
    by_part = {line.partition(": ")[2]: line for line in reversed(found)}
    return list(reversed(by_part.values()))
