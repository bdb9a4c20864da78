"""A stand-in for the Hugging Face Hub on loopback, because there is none that could be installed.

Serves what the real client (huggingface_hub) asks when it downloads: a repository's info with its
files, `resolve` with the headers that tell commit, hash and size, and the content from another
host, as the hub's CDN does, with Range. Its errors carry the hub's own codes
(huggingface_hub:utils/_http.py hf_raise_for_status). What a test may make it do is in the fields of
HubServer and Repo; everything that it was asked is in `requests`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import unquote, urlsplit

COMMIT = "5" * 40
_INFO = re.compile(r"/api/models/([^/]+/[^/]+)/revision/(.+)")
_RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_CDN = re.compile(r"/cdn/([0-9a-f]{64})")
_RANGE = re.compile(r"bytes=(\d+)-")
_STEP = 1 << 20


class Asked(NamedTuple):
    """One request: its method and path, and what it said of itself."""

    method: str
    path: str
    token: str | None
    range: str | None


@dataclass
class HubContent:
    """A file at the hub, in large storage: its bytes, or where they lie."""

    source: Path | bytes

    @cached_property
    def data(self) -> bytes:
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@dataclass
class Repo:
    """A repository: its files at one commit, which its `revisions` name. `token` is needed to see
    it; `gated` shows it to all and gives its files to none."""

    files: dict[str, HubContent]
    commit: str = COMMIT
    revisions: tuple[str, ...] = ("main",)
    token: str | None = None
    gated: bool = False


@dataclass
class HubServer:
    """Use as a context manager. `cut_after` breaks the next answer off behind so many bytes; `hold`
    stops each answer there until it is set; `down` answers 503; `lie` sends other bytes of the
    same number."""

    repos: dict[str, Repo] = field(default_factory=dict)
    cut_after: int | None = None
    hold: threading.Event | None = None
    holding: threading.Event = field(default_factory=threading.Event)
    down: bool = False
    lie: bool = False
    requests: list[Asked] = field(default_factory=list)

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"server_hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.hold is not None:
            self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """What HF_ENDPOINT shall be."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def cdn(self) -> str:
        """The other host, whose redirects the client follows without its token."""
        return f"http://localhost:{self.port}"

    def content(self, sha256: str) -> HubContent | None:
        """A file of any repository, by its hash."""
        every = (file for repo in self.repos.values() for file in repo.files.values())
        return next((file for file in every if file.sha256 == sha256), None)

    def downloads(self) -> list[Asked]:
        """The requests for content."""
        return [a for a in self.requests if a.method == "GET" and a.path.startswith("/cdn/")]


class _Handler(BaseHTTPRequestHandler):
    server_hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        # A client that was killed has gone away.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._serve()

    def _serve(self) -> None:
        path = urlsplit(self.path).path
        bearer = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        self._bearer = bearer
        hub = self.server_hub
        hub.requests.append(Asked(self.command, unquote(path), bearer, self.headers.get("Range")))
        if hub.down:
            self._refuse(503, "", "the hub is down")
        elif match := _CDN.fullmatch(path):
            self._content(match[1])
        elif match := _INFO.fullmatch(path):
            self._info(*map(unquote, match.groups()))
        elif match := _RESOLVE.fullmatch(path):
            self._resolve(*map(unquote, match.groups()))
        else:
            self._refuse(404, "", "no such page")

    def _repo(self, name: str, revision: str) -> Repo | None:
        """The repository, or None where it was refused: the hub does not tell a private one from
        one that is not there."""
        repo = self.server_hub.repos.get(name)
        if repo is None or repo.token not in {None, self._bearer}:
            self._refuse(404 if self._bearer else 401, "RepoNotFound", "Repository not found")
            return None
        if revision not in {repo.commit, *repo.revisions}:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return repo

    def _info(self, name: str, revision: str) -> None:
        repo = self._repo(name, revision)
        if repo is None:
            return
        siblings = [
            {
                "rfilename": path,
                "size": len(file.data),
                "blobId": "0" * 40,
                "lfs": {"sha256": file.sha256, "size": len(file.data), "pointerSize": 134},
            }
            for path, file in repo.files.items()
        ]
        document = {"id": name, "sha": repo.commit, "private": False, "siblings": siblings}
        self._answer(200, {"Content-Type": "application/json"}, json.dumps(document).encode())

    def _resolve(self, name: str, revision: str, path: str) -> None:
        repo = self._repo(name, revision)
        if repo is None:
            return
        if repo.gated:
            self._refuse(403 if self._bearer else 401, "GatedRepo", f"Access to {name} is gated.")
            return
        file = repo.files.get(path)
        if file is None:
            self._refuse(404, "EntryNotFound", "Entry not found")
            return
        headers = {
            "Location": f"{self.server_hub.cdn}/cdn/{file.sha256}",
            "X-Repo-Commit": repo.commit,
            "X-Linked-Etag": f'"{file.sha256}"',
            "X-Linked-Size": str(len(file.data)),
        }
        self._answer(302, headers, b"")

    def _content(self, sha256: str) -> None:
        hub = self.server_hub
        file = hub.content(sha256)
        if file is None:
            self._refuse(404, "", "no such content")
            return
        data = bytes(len(file.data)) if hub.lie else file.data
        asked = _RANGE.fullmatch(self.headers.get("Range") or "")
        begin = int(asked[1]) if asked else 0
        headers = {"ETag": f'"{sha256}"', "Accept-Ranges": "bytes"}
        if asked:
            headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        self._answer(206 if asked else 200, headers, memoryview(data)[begin:])

    def _refuse(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self._answer(status, headers, json.dumps({"error": message}).encode())

    def _answer(self, status: int, headers: dict[str, str], body: bytes | memoryview) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self._send(body)

    def _send(self, body: bytes | memoryview) -> None:
        hub = self.server_hub
        is_content = isinstance(body, memoryview)
        cut, hub.cut_after = (hub.cut_after, None) if is_content else (None, hub.cut_after)
        end = len(body) if cut is None else cut
        for begin in range(0, end, _STEP):
            self.wfile.write(body[begin : min(begin + _STEP, end)])
            if is_content and hub.hold is not None:
                hub.holding.set()
                hub.hold.wait(60)
        if cut is not None:
            self.close_connection = True
