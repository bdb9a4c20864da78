"""`paddock chat NAME [PROMPT]`: talks to a model and shows its words as they come.

Owns one turn: what is sent, what is shown, and the wait for a model that is being made. It writes
to the streams that it is given, and knows the daemon's socket and Ollama's address as places to
ask; what may be asked is decided there. `cli/repl.py` takes turns on a terminal.
"""

from __future__ import annotations

import base64
import contextlib
import enum
import json
import select
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from paddock.cli.chat_wait import Thoughts, is_live, is_loaded, loading, ticking
from paddock.core.names import Name
from paddock.edges.daemon_client import (
    Address,
    DaemonRefused,
    get_json,
    inner_message,
    stream,
)
from paddock.errors import OllamaError, OllamaUnreachable, PaddockError

INTERRUPTED = 130
NOT_READY = 503
SHORTEST_HOLD_S, LONGEST_HOLD_S = 1.0, 5.0
TELL_AGAIN_S = 10.0
STATUS_S = 10.0
STDIN_S = 1.0
WAIT_S = 900.0
AWAY_S = 15.0  # an Ollama that is being restarted is back by then
_ROUTE = "/api/chat"

Message = dict[str, Any]


class ChatOutput(enum.Enum):
    """What is shown of an answer: its words, or the lines as Ollama sent them."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Chat:
    """Which model, where it is asked, and how its answers are shown.

    `socket` is the socket of a daemon that answers; None goes to `ollama_url`, and says so, and why
    (`alone`).
    `images`, in base64, go with the first prompt.
    """

    model: str
    socket: Path | None
    ollama_url: str
    output: ChatOutput = ChatOutput.TEXT
    system: str | None = None
    images: tuple[str, ...] = ()
    alone: str = "no daemon answers"

    @property
    def address(self) -> Address:
        """Where the requests go."""
        return Address(self.ollama_url if self.socket is None else self.socket)


@dataclass(frozen=True, slots=True)
class Streams:
    """The three streams of a command."""

    stdin: TextIO | None
    out: TextIO
    err: TextIO


def run_chat(chat: Chat, prompt: str | None, streams: Streams) -> int:
    """Runs the command and gives its exit code: 0, 1, 11 when nobody answers, 130."""
    if chat.socket is None:
        say(streams, f"{chat.alone}; asking ollama at {chat.ollama_url} directly")
    try:
        if prompt is None and streams.stdin is not None and streams.stdin.isatty():
            from paddock.cli.repl import converse

            return converse(chat, streams)
        turn(chat, opening(chat), _prompt(prompt, streams), streams)
    except KeyboardInterrupt:
        streams.out.write("\n")
        return INTERRUPTED
    except PaddockError as error:
        say(streams, error.message)
        return error.exit_code
    return 0


def read_images(paths: Sequence[Path]) -> tuple[str, ...]:
    """Reads images and writes them in base64, as the API takes them. Raises PaddockError."""
    try:
        return tuple(base64.b64encode(path.read_bytes()).decode("ascii") for path in paths)
    except OSError as error:
        what = f"cannot read the image {error.filename}: {error.strerror}"
        raise PaddockError(what, reason="ImageUnreadable") from error


def opening(chat: Chat) -> list[Message]:
    """What a conversation begins with."""
    return [] if chat.system is None else [{"role": "system", "content": chat.system}]


def _prompt(prompt: str | None, streams: Streams) -> str:
    """The prompt, after what comes on stdin where that is no terminal: as `ollama run` has it."""
    if prompt is not None:
        _tell_of_slow_stdin(streams)
    given = [text for text in (_piped(streams), prompt or "") if text.strip()]
    if not given:
        raise PaddockError("the prompt is empty; give one as an argument or on stdin")
    return "\n\n".join([*(text.rstrip("\n") for text in given[:-1]), given[-1]])


def _tell_of_slow_stdin(streams: Streams) -> None:
    """A stdin that nobody thought of may stay open for ever, as that of ssh does."""
    if streams.stdin is None or streams.stdin.isatty():
        return
    with contextlib.suppress(OSError, ValueError):  # a stdin that is no file
        if not select.select([streams.stdin.fileno()], [], [], STDIN_S)[0]:
            say(streams, "waiting for the end of stdin; add < /dev/null where none is meant")


def _piped(streams: Streams) -> str:
    if streams.stdin is None or streams.stdin.isatty():
        return ""
    try:
        return streams.stdin.read()
    except UnicodeDecodeError as error:
        raise PaddockError(f"stdin is no text: {error.reason} at byte {error.start}") from error


def turn(chat: Chat, messages: list[Message], prompt: str, streams: Streams) -> list[Message]:
    """Asks once and shows the answer; gives the conversation with both."""
    question: Message = {"role": "user", "content": prompt}
    if chat.images and all(message["role"] != "user" for message in messages):
        question["images"] = list(chat.images)
    asked = [*messages, question]
    words, thoughts = list[str](), Thoughts(streams.err)
    try:
        for line in _patient_answer(chat, asked, streams):
            words += [_show(chat, line, streams, thoughts)]
    finally:
        thoughts.end()
        said = "".join(words)
        if chat.output is ChatOutput.TEXT and said and not said.endswith("\n"):
            streams.out.write("\n")
        streams.out.flush()
    return [*asked, {"role": "assistant", "content": said}]


def _patient_answer(chat: Chat, messages: list[Message], streams: Streams) -> Iterator[bytes]:
    """Waits for a model that is being made, and says so, for a quarter of an hour at most; what a
    person has to mend is not waited for."""
    waiting = _Waiting(streams)
    while True:
        try:
            with waiting.shown(chat) as end:
                for line in _answer(chat, messages, waiting.hold_s):
                    end()
                    yield line
        except DaemonRefused as error:
            if error.status != NOT_READY or error.retry_after_s is None or waiting.is_over:
                raise
            waiting.go_on(_why(chat, waiting, error.message), error.retry_after_s)
        else:
            return


class _Waiting:
    """How long the answer is waited for, why, and what is told of it. `hold_s`: how long the daemon
    is asked to keep the request before it refuses it again."""

    def __init__(self, streams: Streams):
        self.hold_s = 0.0
        self._streams = streams
        self._began_s = self._asked_s = time.monotonic()
        self._why = self._told = ""
        self._told_s = 0.0

    @property
    def is_over(self) -> bool:
        """Whether it has been too long."""
        return self.elapsed_s > WAIT_S

    @property
    def elapsed_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began_s

    def shown(self, chat: Chat) -> contextlib.AbstractContextManager[Callable[[], None]]:
        """Shows what is waited for, on a terminal, until the first word."""
        self._asked_s = time.monotonic()
        if self._why:
            why = f"waiting: {self._why}"
            return ticking(self._streams.err, lambda: why, since_s=self._began_s, quiet_s=0.0)
        address, model, what = chat.address, chat.model, f"waiting for {chat.model}"
        if is_live(self._streams.err) and is_loaded(address, model):
            return ticking(self._streams.err, lambda: what, since_s=self._began_s)
        return ticking(self._streams.err, lambda: loading(address, model), since_s=self._began_s)

    def go_on(self, why: str, retry_after_s: float) -> None:
        """Says why, at once and then now and then, and lets the daemon have its time."""
        now_s = time.monotonic()
        if why != self._told and (not self._told or self._may_tell(now_s)):
            say(self._streams, f"waiting: {why}")
            self._told, self._told_s = why, now_s
        time.sleep(max(0.0, self.hold_s - (now_s - self._asked_s)))
        self._why = why
        self.hold_s = min(max(retry_after_s, SHORTEST_HOLD_S), LONGEST_HOLD_S)

    def _may_tell(self, now_s: float) -> bool:
        """Not how far it is each second; where a line can be written over it is shown there."""
        return not is_live(self._streams.err) and now_s - self._told_s >= TELL_AGAIN_S


def _why(chat: Chat, waiting: _Waiting, refusal: str) -> str:
    """What is waited for. Raises PaddockError for a model that waits for a person, and for an
    Ollama that stays away."""
    assert chat.socket is not None
    name = Name.parse_api(chat.model).folded
    status = get_json(chat.socket, "/paddock/status", timeout_s=STATUS_S)
    for model in status["models"]:
        stalled = _condition(model, "Stalled")
        if stalled["status"] == "True" and Name.parse_api(model["name"]).folded == name:
            what = f"{model['name']} cannot be served: {stalled['message']} ({stalled['reason']})"
            raise PaddockError(what, reason=stalled["reason"])
    reachable = _condition(status, "OllamaReachable")
    if reachable["status"] != "False":
        return refusal
    if waiting.elapsed_s > AWAY_S and reachable["reason"] != "OllamaStarting":
        raise OllamaUnreachable(reachable["message"])
    return f"{reachable['message']} ({reachable['reason']})"


def _condition(document: dict[str, Any], kind: str) -> dict[str, str]:
    return next(found for found in document["conditions"] if found["type"] == kind)


def _answer(chat: Chat, messages: list[Message], hold_s: float) -> Iterator[bytes]:
    """Yields each line of the answer. Raises PaddockError when it ends before it is done."""
    body = {"model": chat.model, "messages": messages, "stream": True}
    route = f"{_ROUTE}?wait={hold_s:g}" if hold_s else _ROUTE
    rest = b""
    for data in stream(chat.address, route, body):
        *lines, rest = (rest + data).split(b"\n")
        yield from lines
    if rest.strip():
        yield rest


def _show(chat: Chat, line: bytes, streams: Streams, thoughts: Thoughts) -> str:
    """Writes what is to be seen of one line and gives the words in it."""
    text = line.decode(errors="replace")
    answer = _parse(text)
    if "error" in answer:
        raise OllamaError(inner_message(str(answer["error"])))
    message = answer.get("message") or {}
    content = message.get("content") or ""
    if content:
        thoughts.end()
    elif chat.output is ChatOutput.TEXT:
        thoughts.show(str(message.get("thinking") or ""))
    streams.out.write(content if chat.output is ChatOutput.TEXT else f"{text}\n")
    streams.out.flush()
    return str(content)


def _parse(text: str) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise OllamaError("the answer holds a line that is no JSON object")
    return answer


def say(streams: Streams, message: str) -> None:
    """Tells the person at the terminal something beside the answer."""
    streams.err.write(f"paddock: {message}\n")
    streams.err.flush()
