"""A small HTTP client for Paddock's socket, for the command line.

Owns finding a daemon that answers, and one request with its answer, whole or as it comes, with the
standard library alone: a command that only asks the daemon starts in no time. It can also speak to
an HTTP address, so that `chat` goes on where no daemon runs. Never retries.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from paddock.errors import OllamaError, OllamaRefused, OllamaUnreachable, PaddockError

PROBE_S = 2.0
_READ_BYTES = 65536
_SOCKET_NAME = "paddock.sock"


class DaemonUnreachable(PaddockError):
    """No daemon answers on the socket, or not in time."""

    reason = "DaemonUnreachable"
    exit_code = 11


class DaemonRefused(PaddockError):
    """The daemon answered with an error; `status` is its HTTP status, `retry_after_s` when it says
    to come again."""

    reason = "DaemonRefused"

    def __init__(self, message: str, *, status: int, retry_after_s: float | None = None):
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float | None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fsencode(self._path))


@dataclass(frozen=True, slots=True)
class Address:
    """Where a request goes: the daemon's socket, or Ollama at an URL."""

    where: Path | str

    def __str__(self) -> str:
        return str(self.where)

    def connect(self, timeout_s: float | None) -> http.client.HTTPConnection:
        """Makes a connection that opens with its first request."""
        if isinstance(self.where, Path):
            return _UnixConnection(self.where, timeout_s)
        parts = urlsplit(self.where)
        make = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        return make(parts.hostname or "127.0.0.1", parts.port, timeout=timeout_s)

    def unreachable(self, error: Exception | str) -> PaddockError:
        """Makes the error of nobody there, by what a connection failed with or in words."""
        if isinstance(self.where, Path) and isinstance(error, PermissionError):
            what = f"the daemon's socket {self.where} is closed to you"
            return DaemonUnreachable(f"{what}; `ls -l {self.where}` shows to whom it is open")
        why = _why(error) if isinstance(error, Exception) else error
        if isinstance(self.where, Path):
            return DaemonUnreachable(
                f"the daemon at {self.where} does not answer: {why}; start it with `paddock run`"
            )
        return OllamaUnreachable(f"ollama at {self.where} does not answer: {why}; start it")

    def refused(
        self, status: int, message: str, retry_after_s: float | None = None
    ) -> PaddockError:
        """Makes the error of an answer that is one."""
        if isinstance(self.where, Path):
            return DaemonRefused(message, status=status, retry_after_s=retry_after_s)
        if status < 500:
            return OllamaRefused(message, status=status)
        return OllamaError(message)


def socket_candidates(environ: Mapping[str, str], uid: int) -> tuple[Path, ...]:
    """Lists where a daemon's socket may be, likeliest first."""
    runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}"
    setting = environ.get("PADDOCK_SOCKET")
    first = (Path(setting),) if setting else ()
    home = environ.get("HOME")
    state = environ.get("XDG_STATE_HOME") or (f"{home}/.local/state" if home else "")
    last = (Path(state, "paddock", _SOCKET_NAME),) if state else ()
    return (*first, Path(runtime, _SOCKET_NAME), Path("/run/paddock", _SOCKET_NAME), *last)


def find_daemon(candidates: Iterable[Path]) -> Path | None:
    """Gives the first socket at which a daemon answers at all."""
    for path in candidates:
        with contextlib.suppress(DaemonUnreachable), _asked(Address(path), "GET", "/healthz"):
            return path
    return None


def closed_socket(candidates: Iterable[Path]) -> Path | None:
    """Gives the first socket that is closed to this user."""
    for path in candidates:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(PROBE_S)
            try:
                probe.connect(os.fsencode(path))
            except PermissionError:
                return path
    return None


def get_json(path: Path, route: str, *, timeout_s: float) -> dict[str, Any]:
    """Asks the daemon for one JSON object. Raises DaemonUnreachable or DaemonRefused."""
    return _json(Address(path), "GET", route, timeout_s=timeout_s)


def read_json(address: Address, route: str, *, timeout_s: float) -> dict[str, Any]:
    """Asks any address for one JSON object. Raises its errors."""
    return _json(address, "GET", route, timeout_s=timeout_s)


def post_json(
    path: Path, route: str, body: object = None, *, timeout_s: float | None
) -> dict[str, Any]:
    """Posts to the daemon and reads one JSON object. Raises DaemonUnreachable or DaemonRefused."""
    return _json(Address(path), "POST", route, body=body, timeout_s=timeout_s)


def stream(
    address: Address, route: str, body: object, *, timeout_s: float | None = None
) -> Iterator[bytes]:
    """Posts `body` and yields the answer's bytes as they come; closing it cancels the request.

    Raises the address's errors, also when the answer ends before it is whole.
    """
    with _asked(address, "POST", route, body=body, timeout_s=timeout_s) as response:
        check(address, response)
        try:
            while data := response.read1(_READ_BYTES):
                yield data
        except (OSError, http.client.HTTPException) as error:
            raise address.unreachable(f"its answer broke off ({_why(error)})") from error


def _json(
    address: Address,
    method: str,
    route: str,
    *,
    body: object = None,
    timeout_s: float | None,
) -> dict[str, Any]:
    with _asked(address, method, route, body=body, timeout_s=timeout_s) as response:
        check(address, response)
        try:
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise address.unreachable(f"its answer to {route} is broken") from error
    if not isinstance(answer, dict):
        raise address.unreachable(f"its answer to {route} is no object")
    return answer


@contextlib.contextmanager
def _asked(
    address: Address,
    method: str,
    route: str,
    *,
    body: object = None,
    timeout_s: float | None = PROBE_S,
) -> Iterator[http.client.HTTPResponse]:
    connection = address.connect(timeout_s)
    data = None if body is None else json.dumps(body).encode()
    with contextlib.closing(connection):
        try:
            connection.request(method, route, data, {"Content-Type": "application/json"})
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise address.unreachable(error) from error
        with contextlib.closing(response):
            yield response


def check(address: Address, response: http.client.HTTPResponse) -> None:
    """Raises the address's error for an answer that is one."""
    if response.status >= 400:
        after = response.getheader("Retry-After", "")
        retry_after_s = float(after) if after.isdecimal() else None
        raise address.refused(response.status, _message(response), retry_after_s)


def _message(response: http.client.HTTPResponse) -> str:
    text = response.read(_READ_BYTES).decode(errors="replace")
    try:
        return inner_message(str(json.loads(text)["error"]))
    except (ValueError, KeyError, TypeError):
        return text.strip() or f"HTTP {response.status}"


def inner_message(error: str) -> str:
    """Gives the words of an error; Ollama passes on whole JSON objects of its runners as such."""
    try:
        return str(json.loads(error)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return error


def _why(error: Exception) -> str:
    """Says in words why a connection failed."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or repr(error)
