"""A real Ollama for tests: one private server with a store of its own, on loopback.

Owns the process (its port, its home, its log) and nothing else: the paths come from
`scripts/real_ollama.py`, through the fixture `real`. Every test that needs Ollama talks to this;
nothing here imitates Ollama. What a server did is read from the log that it wrote itself.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from processes import kill_group
from provider import RealPaths

PORTS = range(20_000, 32_768)  # below the range that the kernel hands out by itself
FIRST_LOAD_S = 90.0
OPTIONS = {"num_thread": 1, "num_predict": 4, "temperature": 0, "seed": 1}
_GIN = re.compile(r'^\[GIN\] .*?\| +(\d{3}) \|.*\| +([A-Z]+) +"(.*)"$', re.MULTILINE)


class Request(NamedTuple):
    """One request that a server answered, as its own log line says."""

    method: str
    path: str
    status: int

    @property
    def mutates(self) -> bool:
        """Whether the request may change the store or what is loaded."""
        return self.method not in {"GET", "HEAD"} and self.path != "/api/show"


class Answer(NamedTuple):
    """A status, and the body: an object for JSON, a list of them for NDJSON, else text."""

    status: int
    body: Any


@dataclass
class RealOllama:
    """A private `ollama serve` below `folder`; use as a context manager, or start and stop it.

    `env` overrides the server's variables, for example `{"OLLAMA_NOPRUNE": "1"}`.
    """

    paths: RealPaths
    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def models_dir(self) -> Path:
        return self.folder / "models"

    @property
    def gguf(self) -> Path:
        """The real GGUF, shared by all tests: copy it before you change it."""
        return self.paths.gguf

    @property
    def version(self) -> str:
        return self.paths.version

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server was not started"
        return self._process.pid

    def __enter__(self) -> RealOllama:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, timeout_s: float = 20.0) -> None:
        """Starts the server on its port (a free one the first time) and waits until it answers."""
        assert not self.alive(), "the server is running already"
        for folder in (self.home, self.models_dir):
            folder.mkdir(parents=True, exist_ok=True)
        for port in [self.port] if self.port else random.sample(PORTS, 5):
            if self._serve(port, time.monotonic() + timeout_s):
                return self._check_version()
        raise RuntimeError(f"ollama serve did not start; its log:\n{self.log_text()[-2000:]}")

    def _serve(self, port: int, deadline: float) -> bool:
        self.port = port
        begin = len(self.log_text())
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self.paths.ollama, "serve"],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # Its own word that it holds the port: another server there would answer as well.
        listening = f"Listening on {self.host} "
        while listening not in self.log_text()[begin:]:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                return False
            time.sleep(0.01)
        return True

    def _check_version(self) -> None:
        said = self.api("GET", "/api/version")
        if said != Answer(200, {"version": self.version}):
            self.kill()
            raise RuntimeError(f"the server says {said}, not version {self.version}")

    def _environment(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("OLLAMA_", "PADDOCK_"))}
        ours = {
            "HOME": str(self.home),
            "OLLAMA_HOST": self.host,
            "OLLAMA_MODELS": str(self.models_dir),
            "OLLAMA_NO_CLOUD": "1",
        }
        return clean | ours | dict(self.env)

    def alive(self) -> bool:
        """Whether the server's process runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self, timeout_s: float = 10.0) -> None:
        """Ends the server as systemd does, and whatever is left of its runners; may be repeated."""
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        self.kill()

    def kill(self) -> None:
        """Kills the server and its runners at once, as a crash of the machine would."""
        if self._process is None:
            return
        kill_group(self._process)
        self._process = None

    def restart(self) -> None:
        """Stops the server and starts it again on the same port and store."""
        self.stop()
        self.start()

    @property
    def _log(self) -> Path:
        return self.folder / "serve.log"

    def log_text(self) -> str:
        """All that the server wrote so far, over every start."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def logged(self, pattern: str, begin: int, timeout_s: float = 20.0) -> re.Match[str]:
        """The first match after so many characters of the log, once it is there: what a runner
        writes comes after its answer."""
        deadline = time.monotonic() + timeout_s
        while (found := re.search(pattern, self.log_text()[begin:])) is None:
            assert time.monotonic() < deadline, f"not logged in {timeout_s} s: {pattern}"
            time.sleep(0.02)
        return found

    def requests_log(self) -> list[Request]:
        """The requests that the server answered, oldest first, this harness's own among them."""
        return [
            Request(method, path, int(status))
            for status, method, path in _GIN.findall(self.log_text())
        ]

    @contextlib.contextmanager
    def recorded(self) -> Iterator[list[Request]]:
        """Fills the list that it yields, at its end, with the requests answered meanwhile."""
        begin = len(self.requests_log())
        requests: list[Request] = []
        yield requests
        requests.extend(self.requests_log()[begin:])

    def api(
        self, method: str, path: str, body: object = None, *, timeout_s: float = 30.0
    ) -> Answer:
        """Sends one request (bytes as they are, anything else as JSON) and reads its answer."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        with contextlib.closing(connection):
            connection.request(method, path, data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read().decode()
            kind = response.getheader("Content-Type", "")
        return Answer(response.status, _decode(kind, text))

    def _ok(self, method: str, path: str, body: object = None, **options: Any) -> Any:
        answer = self.api(method, path, body, **options)
        assert answer.status == 200, f"{method} {path}: {answer.status} {answer.body}"
        return answer.body

    def tags(self) -> dict[str, dict[str, Any]]:
        """The models that Ollama knows, by name."""
        return {model["name"]: model for model in self._ok("GET", "/api/tags")["models"]}

    def ps(self) -> dict[str, dict[str, Any]]:
        """The models that Ollama has loaded, by name."""
        return {model["name"]: model for model in self._ok("GET", "/api/ps")["models"]}

    def show(self, name: str) -> dict[str, Any]:
        """What Ollama says of one model."""
        shown: dict[str, Any] = self._ok("POST", "/api/show", {"model": name})
        return shown

    def system(self, name: str) -> object:
        """The system text that Ollama shows; None where it shows none. A show may fail for a
        moment: Ollama looks at every manifest, and one may just go."""
        return self.api("POST", "/api/show", {"model": name}).body.get("system")

    def generate(self, name: str, prompt: str = "", **fields: Any) -> dict[str, Any]:
        """One answer, not streamed, on one thread; without a prompt it loads the model.

        `keep_alive` and any other field of the request may be given; `options` add to ours.
        """
        return self._talk("/api/generate", {"model": name, "prompt": prompt}, fields)

    def chat(self, name: str, content: str, **fields: Any) -> dict[str, Any]:
        """One answer to one user message, not streamed, on one thread."""
        messages = [{"role": "user", "content": content}]
        return self._talk("/api/chat", {"model": name, "messages": messages}, fields)

    def _talk(self, path: str, body: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
        body |= {"stream": False, **fields, "options": OPTIONS | fields.get("options", {})}
        answer: dict[str, Any] = self._ok("POST", path, body, timeout_s=FIRST_LOAD_S)
        return answer

    def cli(self, *arguments: str | Path, timeout_s: float = 90.0) -> str:
        """What `ollama ARGUMENTS` prints on stdout, as a client of this server."""
        result = subprocess.run(
            [self.paths.ollama, *arguments],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert result.returncode == 0, f"ollama {arguments}: {result.stderr[-2000:]}"
        return result.stdout

    def create_from_gguf(
        self, name: str, gguf: Path | None = None, modelfile_lines: Sequence[str] = ()
    ) -> None:
        """Makes a model as users do, `ollama create NAME -f Modelfile`: it copies the GGUF."""
        lines = [f"FROM {gguf or self.gguf}", *modelfile_lines]
        modelfile = self.folder / "Modelfile"
        modelfile.write_text("\n".join(lines) + "\n")
        self.cli("create", name, "-f", modelfile)


def _decode(kind: str, text: str) -> Any:
    if kind.startswith("application/x-ndjson"):
        return [json.loads(line) for line in text.splitlines()]
    if kind.startswith("application/json") and text:  # none after a HEAD
        return json.loads(text)
    return text


class StartOllama(Protocol):
    """The fixture `start_ollama`: each call starts one more private server with an empty store."""

    def __call__(self, **env: str) -> RealOllama: ...
