"""What `install-service` puts in place: the files, and what they say for this very host.

Pure. The units are put there as they are shipped; what is of this host (Ollama's user, address and
folder, where Paddock lies) is in a drop-in beside them. Where a package of the host's brings the
units, the drop-ins are all that is written. The receipt tells which files were made, so that they,
and no others, can be taken away again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

FORMAT_VERSION = 1
RECEIPT = "installed.json"
SPEC = "models.yaml"
UNITS = ("paddock.service", "paddock.socket")
DROP_IN = "paddock.service.d/installed.conf"
SOCKET_DROP_IN = "paddock.socket.d/installed.conf"
RELOAD_DROP_IN = "paddock.service.d/notify-reload.conf"
NOTIFY_RELOAD_SINCE = 253


@dataclass(frozen=True, slots=True)
class Server:
    """Ollama on this host: whose it is, where it answers and where its models lie. No user: it is
    not run for another one than oneself."""

    user: str | None
    group: str | None
    host: str
    models_dir: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where the files go: the folder of the units, and Paddock's own; and where a package of the
    host's has its units."""

    units: str
    etc: str
    packaged: str


@dataclass(frozen=True, slots=True)
class Units:
    """The units by their names, and whether a package of the host's has put them in place."""

    texts: Mapping[str, str]
    are_packaged: bool = False


def files(
    place: Place, server: Server, program: str, *, units: Units, version: int, spec: str
) -> dict[str, str]:
    """Each file to write, by its path, in the order in which they are written; `version` is
    systemd's, and `spec` the text of models.yaml."""
    texts = {} if units.are_packaged else {name: units.texts[name] for name in UNITS}
    texts[DROP_IN] = drop_in(server, program, units.texts[UNITS[0]])
    if server.user is not None:
        texts[SOCKET_DROP_IN] = socket_drop_in(server)
    if version >= NOTIFY_RELOAD_SINCE:
        texts[RELOAD_DROP_IN] = units.texts[RELOAD_DROP_IN]
    found = {str(PurePosixPath(place.etc, SPEC)): spec}
    return found | {str(PurePosixPath(place.units, name)): texts[name] for name in texts}


def drop_in(server: Server, program: str, service: str) -> str:
    """What is of this host, as a drop-in of the service, whose unit says where the program is."""
    lines = ["# Made by paddock install-service, of Ollama as it was then.", "[Service]"]
    if server.user is not None:
        lines += [f"User={quoted(server.user)}", f"Group={quoted(server.group or server.user)}"]
        lines += ["ReadWritePaths=", f"ReadWritePaths={quoted(server.models_dir)}"]
    start = f"ExecStart={program} run"
    if start not in service.splitlines():
        lines += ["ExecStart=", start]
    lines.append(f"Environment={quoted(f'OLLAMA_HOST={server.host}')}")
    lines.append(f"Environment={quoted(f'OLLAMA_MODELS={server.models_dir}')}")
    return "\n".join([*lines, ""])


def socket_drop_in(server: Server) -> str:
    """Whose socket it is."""
    user, group = quoted(server.user or ""), quoted(server.group or server.user or "")
    return f"[Socket]\nSocketUser={user}\nSocketGroup={group}\n"


def quoted(text: str) -> str:
    """A value as units hold it: percent signs doubled, and in quotes where it has blanks."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text}"' if any(c.isspace() for c in text) else text


def receipt(
    made: Mapping[str, str], folders: tuple[str, ...], *, earlier: Mapping[str, str] | None = None
) -> str:
    """What was made: files with their digests (`earlier` has those of older ones), and folders, the
    outer ones first."""
    digests = dict(earlier or {}) | {path: digest(text) for path, text in made.items()}
    document = {
        "format_version": FORMAT_VERSION,
        "files": digests,
        "folders": list(dict.fromkeys(folders)),
    }
    return json.dumps(document, indent=2) + "\n"


def digest(text: str) -> str:
    """The SHA-256 of a text, in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def read_receipt(text: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """The files with their digests, and the folders, of a receipt. Raises ValueError."""
    try:
        document = json.loads(text)
        files = {str(path): str(found) for path, found in document["files"].items()}
        return files, tuple(map(str, document["folders"]))
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"no receipt of paddock: {error}") from error
