#!/usr/bin/env python3
"""Paddock at work on a real Ollama, each step with the command that a user would type, and checked.

Runs a private Ollama (own port, own models folder) and `paddock run` on examples/quickstart.yaml
in a temporary folder, and stops both at its end. Exits with 1 at the first step that does not hold.
Its last line says how long each part took.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[1]
PADDOCK = Path(sys.executable).parent / "paddock"
TIMEOUT_S = 120.0
FEW_BYTES = 64 * 1024
PROMPT = "Name three colours."
TERSE = """
  terse:                        # a second model over the same file: shares its blobs
    source: {model: smollm2}
    system: Answer in one short sentence.
"""


def main() -> int:
    """Run every part, and say how long each took."""
    began, took = time.monotonic(), dict[str, float]()

    @contextmanager
    def part(name: str, title: str) -> Iterator[None]:
        say(f"\n== {title}")
        started = time.monotonic()
        yield
        took[name] = time.monotonic() - started

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="paddock-demo-")))
        with part("ollama", "A real Ollama and a real model"):
            paths = provide()
        with part("serve", "A private Ollama, on a port and a models folder of its own"):
            demo = stack.enter_context(private_ollama(folder, paths))
        with part("plan", "The plan: what would be done, and why"):
            demo.plan()
        with part("converge", "The daemon: links, publishes, loads and pins"):
            daemon = stack.enter_context(demo.daemon())
            demo.converged()
        with part("chat", "Chat, streamed through the Unix socket"):
            demo.chat_with_curl()
            demo.chat("smollm2")
        with part("heal", "The link is deleted by hand, and healed"):
            demo.heal()
        with part("re-pin", "Another client sends keep_alive: 5m, and the pin is asserted again"):
            demo.repin()
        with part("edit", "The file is edited: a second model, derived from the first"):
            demo.edit()
        with part("stop", "SIGTERM: the daemon stops, and leaves no trace"):
            demo.stop(daemon)
    parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in took.items())
    say(f"\nDemo passed in {time.monotonic() - began:.1f} s: {parts}.")
    return 0


class Demo:
    """One private Ollama, one models.yaml, one socket."""

    def __init__(self, folder: Path, paths: dict[str, Any], port: int):
        self.folder = folder
        # The user's own file, where the example expects it.
        self.gguf = Path(shutil.copy2(paths["gguf"], folder))
        self.sha256 = sha256(self.gguf)
        self.stat = self.gguf.stat()
        self.url = f"http://127.0.0.1:{port}"
        self.models = folder / "models"
        self.socket = folder / "paddock.sock"
        self.spec = folder / "models.yaml"
        self.env = os.environ | {
            "OLLAMA_HOST": f"127.0.0.1:{port}",
            "OLLAMA_MODELS": str(self.models),
            "OLLAMA_NO_CLOUD": "1",
            "HOME": str(folder),
            "PADDOCK_SOCKET": str(self.socket),
            "PADDOCK_POLL": "2",
            "PADDOCK_LOG_FORMAT": "console",
            "NO_PROXY": "*",
        }

    def run(self, *command: str, shown: str | None = None, expect: int = 0) -> str:
        """Show a command, run it, show what it prints, and check how it exits."""
        say(f"$ {shown or shlex.join(command)}")
        if command[0] == "paddock":
            command = (str(PADDOCK), *command[1:])
        done = subprocess.run(
            command,
            check=False,
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,  # else `paddock chat` would read it as part of the prompt
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        for text in (done.stderr, done.stdout):
            if text.strip():
                say(text.rstrip())
        if done.returncode != expect:
            give_up(f"{command[0]} exited with {done.returncode}, not {expect}")
        return done.stdout

    def get(self, route: str) -> Any:
        """What Ollama itself says."""
        with urlopen(self.url + route, timeout=10) as answer:
            return json.load(answer)

    def expires(self) -> str:
        """When Ollama would unload the model; empty when it is not loaded."""
        models = self.get("/api/ps")["models"]
        return str(models[0]["expires_at"]) if models else ""

    def listed(self) -> set[str]:
        """The models that Ollama lists."""
        return {model["name"] for model in self.get("/api/tags")["models"]}

    def ready(self) -> bool:
        """Whether the daemon says that all is as declared."""
        command = [str(PADDOCK), "status", "-o", "json"]
        done = subprocess.run(
            command,
            check=False,
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            timeout=TIMEOUT_S,
        )
        return done.returncode == 0

    @property
    def link(self) -> Path:
        """The link in blobs/ to the user's file."""
        return self.models / "blobs" / f"sha256-{self.sha256}"

    def plan(self) -> None:
        """The file is there, and the plan names what it would do."""
        shutil.copy(ROOT / "examples" / "quickstart.yaml", self.spec)
        self.run("cat", "models.yaml")
        printed = self.run("paddock", "plan")
        check("1 to add" in printed, "the plan has one model to add")
        check("copies 0 B" in printed, "and copies nothing")

    @contextmanager
    def daemon(self) -> Iterator[subprocess.Popen[bytes]]:
        """`paddock run`, stopped at the end whatever happens."""
        say("$ paddock run &")
        log = self.folder / "paddock.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [str(PADDOCK), "run"], cwd=self.folder, env=self.env, stdout=out, stderr=out
            )
        try:
            took = wait(self.ready, "the daemon is ready", process)
            say(log.read_text(errors="replace").rstrip())
            say(f"# ready after {took:.1f} s")
            yield process
        except BaseException:
            say(log.read_text(errors="replace"))
            raise
        finally:
            process.kill()
            process.wait()

    def converged(self) -> None:
        """Linked and not copied; loaded, and for ever."""
        self.run("paddock", "status")
        self.run("ls", "-l", str(self.link), shown=f"ls -l models/blobs/sha256-{self.sha256[:12]}…")
        check(self.link.resolve() == self.gguf.resolve(), "the blob is a link to the GGUF")
        written = disk_use(self.models)
        self.run("du", "-sh", "--apparent-size", "--exclude=.paddock", "models")
        check(written < FEW_BYTES, f"0 bytes of the GGUF copied: {written} B written for the model")
        self.run("curl", "-s", f"{self.url}/api/ps", shown="curl -s $OLLAMA_HOST/api/ps")
        check(self.expires() > "2200", "the model is loaded, and pinned for ever")

    def chat_with_curl(self) -> None:
        """A stream in many pieces through the socket."""
        body = {
            "model": "smollm2",
            "messages": [{"role": "user", "content": PROMPT}],
            "options": {"num_thread": 1, "num_predict": 16},
        }
        streamed = self.run(
            "curl", "-sN", "--unix-socket", str(self.socket), "http://localhost/api/chat",
            "-d", json.dumps(body),
        )  # fmt: skip
        lines = [json.loads(line) for line in streamed.splitlines()]
        check(len(lines) > 2 and lines[-1]["done"], f"the answer came in {len(lines)} pieces")

    def chat(self, model: str) -> None:
        """The command that people type."""
        answer = self.run("paddock", "chat", model, PROMPT)
        check(bool(answer.strip()), "there is an answer")

    def heal(self) -> None:
        """What is removed by hand comes back."""
        self.run("rm", str(self.link), shown=f"rm models/blobs/sha256-{self.sha256[:12]}…")
        took = wait(self.link.is_symlink, "the link is back")
        check(self.link.resolve() == self.gguf.resolve(), f"the link is back after {took:.2f} s")
        wait(self.ready, "the daemon is ready again")
        self.chat("smollm2")

    def repin(self) -> None:
        """Any client overwrites a pin; Paddock asserts it again."""
        body = json.dumps({"model": "smollm2", "keep_alive": "5m"})
        self.run("curl", "-s", f"{self.url}/api/generate", "-d", body)
        say(f"# Ollama would now unload it at {self.expires()}")
        took = wait(lambda: self.expires() > "2200", "the model is pinned again")
        check(True, f"pinned again after {took:.1f} s: expires at {self.expires()}")

    def edit(self) -> None:
        """A saved edit converges by itself."""
        with self.spec.open("a") as file:
            file.write(TERSE)
        say(f"$ cat >> models.yaml{TERSE.rstrip()}")
        took = wait(lambda: "terse:latest" in self.listed(), "Ollama lists the second model")
        wait(self.ready, "the daemon is ready again")
        check(True, f"Ollama lists it after {took:.2f} s")
        self.chat("terse")
        self.run("paddock", "status")
        check(disk_use(self.models) < FEW_BYTES, "both models together: 0 bytes of the GGUF copied")
        self.run("paddock", "apply")

    def stop(self, daemon: subprocess.Popen[bytes]) -> None:
        """Socket gone, exit 0, and the user's file as it was."""
        say(f"$ kill -TERM {daemon.pid}")
        daemon.send_signal(signal.SIGTERM)
        check(daemon.wait(TIMEOUT_S) == 0, "the daemon exits with 0")
        check(not self.socket.exists(), "its socket is gone")
        now = self.gguf.stat()
        same = (now.st_size, now.st_mtime_ns, now.st_mode, now.st_uid, now.st_ino) == (
            self.stat.st_size, self.stat.st_mtime_ns, self.stat.st_mode, self.stat.st_uid,
            self.stat.st_ino,
        )  # fmt: skip
        check(
            same and sha256(self.gguf) == self.sha256, "the GGUF is untouched: bytes, mode, mtime"
        )


def provide() -> dict[str, Any]:
    """The real Ollama and model, from PATH or built once and cached."""
    say("$ python scripts/real_ollama.py")
    command = [sys.executable, str(ROOT / "scripts" / "real_ollama.py")]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        give_up("no real Ollama to be had; see above")
    found: dict[str, Any] = json.loads(done.stdout)
    say(f"# Ollama {found['version']}, {Path(found['gguf']).name}")
    return found


@contextmanager
def private_ollama(folder: Path, paths: dict[str, Any]) -> Iterator[Demo]:
    """`ollama serve` on a free port, stopped at the end."""
    demo = Demo(folder, paths, free_port())
    say(f"$ OLLAMA_HOST={demo.env['OLLAMA_HOST']} OLLAMA_MODELS=models ollama serve &")
    log = folder / "ollama.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [paths["ollama"], "serve"], cwd=folder, env=demo.env, stdout=out, stderr=out
        )
    try:
        wait(lambda: answers(demo), "Ollama answers", process)
        yield demo
    except BaseException:
        say(log.read_text(errors="replace")[-2000:])
        raise
    finally:
        process.terminate()
        process.wait()


def answers(demo: Demo) -> bool:
    """Whether the private Ollama serves yet."""
    try:
        return bool(demo.get("/api/version"))
    except OSError:
        return False


def free_port() -> int:
    """A port that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def wait(
    holds: Callable[[], bool], what: str, process: subprocess.Popen[bytes] | None = None
) -> float:
    """Wait until something holds, and say how long it took."""
    started = time.monotonic()
    while not holds():
        if process is not None and process.poll() is not None:
            give_up(f"{what}: the process ended with {process.returncode}")
        if time.monotonic() - started > TIMEOUT_S:
            give_up(f"{what}: not within {TIMEOUT_S:.0f} s")
        time.sleep(0.02)
    return time.monotonic() - started


def disk_use(folder: Path) -> int:
    """Bytes of the real files below a folder, but for Paddock's own state."""
    files = (path for path in folder.rglob("*") if ".paddock" not in path.parts)
    return sum(path.lstat().st_size for path in files if path.is_file() and not path.is_symlink())


def sha256(path: Path) -> str:
    """The digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(holds: bool, what: str) -> None:
    """Say that something holds, or end the demo."""
    if not holds:
        give_up(what)
    say(f"  ok: {what}")


def give_up(what: str) -> NoReturn:
    """End the demo, with what does not hold."""
    raise SystemExit(f"\nDemo FAILED: {what}")


def say(text: str) -> None:
    """Print at once, so that the demo reads as it runs."""
    print(text, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
