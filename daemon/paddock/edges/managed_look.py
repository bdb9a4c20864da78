"""Who answers at Ollama's address, and whether a server can be started there.

Asks for the version, tries to bind, looks for the program; changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import shutil
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from paddock.errors import OllamaError, Retry, words

ANSWER_S = 5.0
_MOST_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Serving:
    """What is to be served: where (`url` to ask, `host` and `port` to listen), by which program
    (None: `ollama` of the PATH), with what environment."""

    url: str
    host: str
    port: int
    program: str | None
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """Who answers: an Ollama of some version, or something else (`other` says what it does). Both
    None: nobody."""

    version: str | None = None
    other: str | None = None


async def is_served(serving: Serving) -> bool:
    """Whether a server answers there; False: one can be started. Raises OllamaError where neither
    is so."""
    answer = await who_answers(serving.url)
    if answer.version is not None:
        return True
    if answer.other is not None:
        raise _taken(serving, answer.other)
    if serving.url.startswith("https:"):
        what = f"no server answers at {serving.url}, and one that paddock starts speaks http"
        hint = "set OLLAMA_HOST to an address without https"
        raise OllamaError(f"{what}; {hint}", reason="NotServable", retry=Retry.STALLED)
    await asyncio.to_thread(_check_free, serving)
    return False


async def who_answers(url: str) -> Answer:
    """Ask for Ollama's version."""
    parts = urlsplit(url)
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=tls)
    except OSError:
        return Answer()
    try:
        async with asyncio.timeout(ANSWER_S):
            # 1.0, so that the answer ends with the connection and is in one piece.
            writer.write(f"GET /api/version HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode())
            return _answer(await _all(reader))
    except TimeoutError:
        return Answer(other=f"says nothing in {ANSWER_S:g} s")
    except OSError:
        return Answer(other="closes the connection")
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _all(reader: asyncio.StreamReader) -> bytes:
    """What is said until the other side closes, as far as it is worth reading."""
    said = b""
    while len(said) < _MOST_BYTES and (data := await reader.read(_MOST_BYTES)):
        said += data
    return said


def _answer(said: bytes) -> Answer:
    head, _, body = said.partition(b"\r\n\r\n")
    status = head.partition(b"\r\n")[0].decode("latin-1").split(" ", 2)
    if not head.startswith(b"HTTP/") or len(status) < 2:
        return Answer(other="does not speak HTTP" if said else "closes the connection")
    try:
        version = json.loads(body)["version"]
    except (ValueError, KeyError, TypeError):
        version = None
    if status[1] != "200" or not isinstance(version, str):
        return Answer(other=f"answers {' '.join(status[1:])[:100]} for Ollama's version")
    return Answer(version=version)


def find_program(serving: Serving) -> str:
    """The program to start. Raises OllamaError where there is none."""
    if serving.program is None:
        if found := shutil.which("ollama", path=serving.env.get("PATH")):
            return str(Path(found).absolute())
        what = "there is no program ollama on the PATH"
        hint = "install Ollama (https://ollama.com/download), or set PADDOCK_OLLAMA_BIN to it"
        raise OllamaError(f"{what}; {hint}", reason="OllamaNotFound", retry=Retry.STALLED)
    path = Path(serving.program)
    if path.is_file() and os.access(path, os.X_OK):
        return str(path.absolute())
    why = "cannot be run by this user" if path.exists() else "does not exist"
    what = f"setting ollama_bin: {path} {why}; name Ollama's program, or take the setting out"
    raise OllamaError(what, reason="OllamaNotFound", retry=Retry.STALLED)


def prepare_folder(serving: Serving) -> None:
    """Make the models folder where it is not there. Raises OllamaError where a server of ours would
    leave files in it that its owner cannot change."""
    folder = Path(serving.env["OLLAMA_MODELS"])
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        owner = folder.stat().st_uid
    except OSError as error:
        what = f"the models folder {folder} cannot be made: {words(error)}"
        hint = "make it, or set OLLAMA_MODELS to another"
        raise OllamaError(f"{what}; {hint}", reason="NotPermitted", retry=Retry.STALLED) from error
    if owner != os.geteuid():
        what = f"the models folder {folder} belongs to another user (uid {owner})"
        hint = f"run as that user: sudo -u '#{owner}' paddock run --managed"
        raise OllamaError(f"{what}; {hint}", reason="NotPermitted", retry=Retry.STALLED)


def _check_free(serving: Serving) -> None:
    """Raises OllamaError where nothing can listen."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            serving.host, serving.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise _taken(serving, "does not answer") from error
        what = f"no server answers at {serving.url}, and none can be started there"
        hint = "set OLLAMA_HOST to an address of this host, and a port above 1023"
        raise OllamaError(
            f"{what}: {words(error)}; {hint}", reason="NotServable", retry=Retry.STALLED
        ) from error


def _taken(serving: Serving, does: str) -> OllamaError:
    what = f"port {serving.port} of {serving.host} is taken by a program that is no Ollama"
    hint = "stop it, or set OLLAMA_HOST to another port"
    return OllamaError(f"{what}: it {does}; {hint}", reason="PortTaken", retry=Retry.STALLED)
