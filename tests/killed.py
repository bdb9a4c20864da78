"""Runs `paddock` commands that kill themselves at one step of their work, one after another.

A step comes after each thing that outlives a process: a file made or renamed, a blob removed, a
write of the ledger, a request to Ollama that changes something. SIGKILL leaves no chance to tidy
up. Started as a program it reads one JSON line a command, forks (so that nothing is imported
again), and answers with a JSON line; `Killer` is the way to use it.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

NEVER = -1


class Ended(NamedTuple):
    """How a command ended: its exit code (negative: the signal), the steps it took, its words."""

    code: int
    steps: int
    said: str


@dataclass
class Killer:
    """The program, with the environment of a user; use as a context manager."""

    env: Mapping[str, str]
    folder: Path
    _process: subprocess.Popen[str] | None = field(default=None, repr=False)

    def __enter__(self) -> Killer:
        self._process = subprocess.Popen(
            [sys.executable, __file__, self.folder],
            env=dict(self.env),
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.communicate(timeout=20)

    def run(self, *arguments: str, step: int = NEVER) -> Ended:
        """Runs `paddock ARGUMENTS` and kills it at this step."""
        assert self._process is not None
        asked, answered = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answered is not None
        asked.write(json.dumps({"arguments": arguments, "step": step}) + "\n")
        asked.flush()
        return Ended(*json.loads(answered.readline()))


class _Steps:
    """Counts the steps of one command in `file`, and ends it at the last one."""

    def __init__(self, last: int, file: IO[str]):
        self._last = last
        self._file = file
        self._count = 0

    def after(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, with a step after it."""

        @functools.wraps(work)
        def plain(*args: Any, **kwargs: Any) -> Any:
            result = work(*args, **kwargs)
            self._step()
            return result

        @functools.wraps(work)
        async def waiting(*args: Any, **kwargs: Any) -> Any:
            result = await work(*args, **kwargs)
            self._step()
            return result

        return waiting if inspect.iscoroutinefunction(work) else plain

    def _step(self) -> None:
        if self._count == self._last:
            os.kill(os.getpid(), signal.SIGKILL)
        self._count += 1
        self._file.seek(0)
        self._file.write(str(self._count))
        self._file.flush()


def _serve(folder: Path) -> None:
    import httpx  # noqa: F401
    import ollama  # noqa: F401

    import paddock.cli.converge  # noqa: F401

    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            _child(folder, asked["step"], asked["arguments"])
        _, status = os.waitpid(child, 0)
        steps, said = (folder / name for name in ("steps", "said"))
        answer = Ended(
            os.waitstatus_to_exitcode(status), int(steps.read_text() or 0), said.read_text()
        )
        print(json.dumps(answer), flush=True)


def _child(folder: Path, last: int, arguments: list[str]) -> None:
    """Runs one command and never returns."""
    code = 70
    try:
        said = (folder / "said").open("w", buffering=1)
        sys.stdout = sys.stderr = said
        code = _run(_Steps(last, (folder / "steps").open("w")), arguments)
    except BaseException:  # noqa: BLE001  a fork never returns to what it was forked from
        traceback.print_exc()
    finally:
        os._exit(code)


def _run(steps: _Steps, arguments: list[str]) -> int:
    from paddock.cli.main import main
    from paddock.edges import trees
    from paddock.edges.ollama import Ollama
    from paddock.edges.state import State
    from paddock.edges.store import Store

    lasting: dict[Any, tuple[str, ...]] = {
        trees: ("make_root", "make", "put_in_place", "remove"),
        Store: ("_write_file", "_make_link", "_replace", "remove_blob"),
        State: ("write",),
        Ollama: ("upload_blob", "create", "delete", "load", "set_keep_alive", "pull"),
    }
    for owner, names in lasting.items():
        for name in names:
            setattr(owner, name, steps.after(getattr(owner, name)))
    return main(arguments)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
