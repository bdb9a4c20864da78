"""A real registry on loopback for tests of pulls: Debian's docker-registry behind Debian's nginx.

Owns two processes, their ports and a storage folder. nginx is there because Ollama's puller takes a
blob only from another host name than the one it asked (`ollama:server/download.go`): the front
answers each GET of a blob with a redirect to `localhost`, where a second server passes it on, as
slowly as it is told. Plain HTTP, so pushes and pulls need `insecure`.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import re
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from processes import kill_group
from provider import ROOT
from real import PORTS, RealOllama, Request

PACKAGES = {"docker-registry": "docker-registry", "nginx": "nginx"}  # program: Debian package
_START_S = 15.0
_TOKEN = "X-Paddock-Test"
_LOGGED = re.compile(r"^(\S+) (\S+) (\d{3})$", re.MULTILINE)

REGISTRY_CONFIG = """\
version: 0.1
storage:
  filesystem: {{rootdirectory: {folder}/storage}}
  delete: {{enabled: true}}
http:
  addr: 127.0.0.1:{backend}
  headers: {{{token_name}: [{token}]}}
"""

NGINX_CONFIG = """\
daemon off;
pid {folder}/nginx.pid;
{user}
events {{}}
http {{
  log_format request '$request_method $request_uri $status';
  log_format sent '$server_port $request_method $status $body_bytes_sent';
  access_log {folder}/access.log request;
  access_log {folder}/sent.log sent;
  client_max_body_size 0;
  client_body_temp_path {folder}/temp;
  proxy_temp_path {folder}/temp;
  fastcgi_temp_path {folder}/temp;
  uwsgi_temp_path {folder}/temp;
  scgi_temp_path {folder}/temp;
  proxy_buffering off;
  proxy_request_buffering off;
  proxy_http_version 1.1;
  proxy_set_header Host $http_host;
  server {{
    listen 127.0.0.1:{front};
    {rules}
    location ~ ^/v2/.*/blobs/sha256:[0-9a-f]+$ {{
      if ($request_method = GET) {{ return 307 http://localhost:{blobs}$request_uri; }}
      proxy_pass http://127.0.0.1:{backend};
    }}
    location / {{ proxy_pass http://127.0.0.1:{backend}; }}
  }}
  server {{
    listen 127.0.0.1:{blobs};
    location / {{
      proxy_buffering on;
      proxy_max_temp_file_size 0;
      limit_rate {rate};
      proxy_pass http://127.0.0.1:{backend};
    }}
  }}
}}
"""


class Programs(NamedTuple):
    """Where the two programs are."""

    registry: str
    nginx: str


def provide_programs() -> Programs:
    """Finds the two programs, or installs them where that is possible; raises RuntimeError."""
    if absent := [package for name, package in PACKAGES.items() if not _which(name)]:
        installed = subprocess.run([ROOT / "scripts" / "apt-need", *absent], check=False)
        if installed.returncode != 0:
            raise RuntimeError(f"no {' and no '.join(absent)} here: apt-get install them")
    return Programs(*(_which(name) or name for name in PACKAGES))


def _which(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")


@dataclass
class LoopbackRegistry:
    """A private, empty registry below `folder`; use as a context manager, or start and stop it."""

    programs: Programs
    folder: Path
    _ports: tuple[int, ...] = ()
    _rate_bytes_per_s: int = 0
    _rules: str = ""
    _token: str = field(default_factory=lambda: uuid.uuid4().hex)
    _backend: subprocess.Popen[bytes] | None = None
    _nginx: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """Host and port as they stand in a reference."""
        return f"127.0.0.1:{self._ports[0]}"

    @property
    def backend(self) -> str:
        """Where docker-registry itself answers."""
        return f"127.0.0.1:{self._ports[2]}"

    def reference(self, name: str) -> str:
        """The full reference of `name` or `name:tag` in this registry."""
        return f"{self.host}/lib/{name}"

    def __enter__(self) -> LoopbackRegistry:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Starts both processes on free ports, or on those of the last start; waits for answers."""
        (self.folder / "temp").mkdir(parents=True, exist_ok=True)
        for ports in [self._ports] if self._ports else [_sample() for _ in range(5)]:
            self._ports = ports
            self.start_backend()
            self.mend()
            if self._answers():
                return
            self.stop()
        raise RuntimeError(f"the registry did not start; see the logs:\n{self._tails()}")

    def stop(self) -> None:
        """Ends both processes; what was pushed stays for the next start."""
        self.cut()
        self.kill_backend()

    def start_backend(self) -> None:
        """Starts docker-registry, without waiting for it."""
        config = self._write("registry.yml", REGISTRY_CONFIG)
        self._backend = self._spawn("registry.log", [self.programs.registry, "serve", config])

    def kill_backend(self) -> None:
        """Kills docker-registry: the front answers 502, and a blob under way ends short."""
        if self._backend is not None:
            kill_group(self._backend)
            self._backend = None

    def cut(self) -> None:
        """Kills nginx: connections are reset, blobs under way too; new ones are refused."""
        if self._nginx is not None:
            kill_group(self._nginx)
            self._nginx = None

    def mend(self) -> None:
        """Starts nginx again where it was cut."""
        if self._nginx is None:
            config = self._write("nginx.conf", NGINX_CONFIG)
            errors = self.folder / "nginx.log"
            self._nginx = self._spawn(
                "nginx.out", [self.programs.nginx, "-e", errors, "-c", config]
            )

    def slow(self, bytes_per_s: int) -> None:
        """Sends each blob from now on at this rate; 0 is as fast as it goes."""
        self._rate_bytes_per_s = bytes_per_s
        self.cut()
        self.mend()
        assert self._answers(), self._tails()

    def rules(self, directives: str) -> None:
        """Puts directives of nginx before the front's own from now on; none: as it was."""
        self._rules = directives
        self.cut()
        self.mend()
        assert self._answers(), self._tails()

    def reset(self) -> None:
        """As fast as it goes and without rules, from the next start on."""
        self._rate_bytes_per_s, self._rules = 0, ""

    def freeze(self) -> None:
        """Stops nginx where it is: connections stay, and nothing comes. `cut` still ends it."""
        assert self._nginx is not None
        os.killpg(self._nginx.pid, signal.SIGSTOP)

    def sent_bytes(self) -> int:
        """The bytes of blobs that were sent so far, counted when each answer ended."""
        log = (self.folder / "sent.log").read_text()
        port = self._ports[1]
        return sum(map(int, re.findall(rf"^{port} GET 20[06] (\d+)$", log, re.MULTILINE)))

    def blob(self, digest: str) -> Path:
        """The file in which the registry keeps a blob."""
        hexes = digest.removeprefix("sha256:")
        blobs = self.folder / "storage" / "docker" / "registry" / "v2" / "blobs" / "sha256"
        return blobs / hexes[:2] / hexes / "data"

    def _write(self, name: str, template: str) -> Path:
        front, blobs, backend = self._ports
        text = template.format(
            folder=self.folder,
            front=front,
            blobs=blobs,
            backend=backend,
            rate=self._rate_bytes_per_s,
            rules=self._rules,
            token_name=_TOKEN,
            token=self._token,
            user="user root;" if os.geteuid() == 0 else "",
        )
        path = self.folder / name
        path.write_text(text)
        return path

    def _spawn(self, log: str, command: Sequence[str | Path]) -> subprocess.Popen[bytes]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("REGISTRY_", "OTEL_"))}
        with (self.folder / log).open("ab") as output:
            return subprocess.Popen(
                command,
                env=clean,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _answers(self) -> bool:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self._alive():
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, headers = self._request("GET", "/v2/")
                if status == 200:
                    return headers.get(_TOKEN) == self._token and self._alive()
            time.sleep(0.01)
        return False

    def _alive(self) -> bool:
        both = (self._backend, self._nginx)
        return all(process is not None and process.poll() is None for process in both)

    def _tails(self) -> str:
        logs = (self.folder / name for name in ("registry.log", "nginx.log", "nginx.out"))
        return "\n".join(log.read_text()[-1000:] for log in logs if log.exists())

    def _request(self, method: str, path: str, **headers: str) -> tuple[int, dict[str, str]]:
        connection = http.client.HTTPConnection(self.host, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            response.read()
            return response.status, dict(response.getheaders())

    def push(self, ollama: RealOllama, model: str, name: str | None = None) -> str:
        """Pushes a model of `ollama` as `name` (else as itself) and returns its reference here."""
        reference = self.reference(name or model)
        copied = ollama.api("POST", "/api/copy", {"source": model, "destination": reference})
        assert copied.status == 200, copied
        body = {"model": reference, "insecure": True, "stream": False}
        pushed = ollama.api("POST", "/api/push", body, timeout_s=60)
        assert pushed.status == 200, pushed
        ollama.api("DELETE", "/api/delete", {"model": reference})
        return reference

    def digest(self, name: str, tag: str = "latest") -> str:
        """The digest of the manifest that the registry has under a name."""
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        status, headers = self._request("HEAD", f"/v2/lib/{name}/manifests/{tag}", Accept=kind)
        assert status == 200, f"{name}:{tag}: {status}"
        return headers["Docker-Content-Digest"]

    def requests_log(self) -> list[Request]:
        """The requests that nginx answered, oldest first; a redirected blob is there twice."""
        log = (self.folder / "access.log").read_text()
        return [Request(method, path, int(code)) for method, path, code in _LOGGED.findall(log)]


def _sample() -> tuple[int, ...]:
    return tuple(random.sample(PORTS, 3))
