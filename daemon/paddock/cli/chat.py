"""`paddock chat NAME [PROMPT]`: talks to a model and shows its words as they come.

Owns one turn: what is sent, what is shown, and the wait for a model that is being made. It writes
to the streams that it is given, and knows the daemon's socket and Ollama's address as places to
ask; what may be asked is decided there. `cli/repl.py` takes turns on a terminal.
"""

from __future__ import annotations

import base64
import enum
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from paddock.edges.daemon_client import Address, DaemonRefused, stream
from paddock.errors import OllamaError, PaddockError

INTERRUPTED = 130
NOT_READY = 503
LOOK_AGAIN_S = 1.0
WAIT_S = 900.0
_ROUTE = "/api/chat"

Message = dict[str, Any]


class ChatOutput(enum.Enum):
    """What is shown of an answer: its words, or the lines as Ollama sent them."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Chat:
    """Which model, where it is asked, and how its answers are shown.

    `socket` is the socket of a daemon that answers; None goes to `ollama_url`, and says so.
    `images`, in base64, go with the first prompt.
    """

    model: str
    socket: Path | None
    ollama_url: str
    output: ChatOutput = ChatOutput.TEXT
    system: str | None = None
    images: tuple[str, ...] = ()

    @property
    def address(self) -> Address:
        """Where the requests go."""
        return Address(self.ollama_url if self.socket is None else self.socket)


@dataclass(frozen=True, slots=True)
class Streams:
    """The three streams of a command."""

    stdin: TextIO
    out: TextIO
    err: TextIO


def run_chat(chat: Chat, prompt: str | None, streams: Streams) -> int:
    """Runs the command and gives its exit code: 0, 1, 11 when nobody answers, 130."""
    if chat.socket is None:
        say(streams, f"no daemon answers; asking ollama at {chat.ollama_url} directly")
    try:
        if prompt is None and streams.stdin.isatty():
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
    text = streams.stdin.read() if prompt is None else prompt
    if not text.strip():
        raise PaddockError("the prompt is empty; give one as an argument or on stdin")
    return text


def turn(chat: Chat, messages: list[Message], prompt: str, streams: Streams) -> list[Message]:
    """Asks once and shows the answer; gives the conversation with both."""
    question: Message = {"role": "user", "content": prompt}
    if chat.images and all(message["role"] != "user" for message in messages):
        question["images"] = list(chat.images)
    asked = [*messages, question]
    words: list[str] = []
    try:
        for line in _patient_answer(chat, asked, streams):
            words += [_show(chat, line, streams)]
    finally:
        if chat.output is ChatOutput.TEXT and words and not words[-1].endswith("\n"):
            streams.out.write("\n")
        streams.out.flush()
    return [*asked, {"role": "assistant", "content": "".join(words)}]


def _patient_answer(chat: Chat, messages: list[Message], streams: Streams) -> Iterator[bytes]:
    """Waits for a model that is being made, and says so, for a quarter of an hour at most."""
    until, told = time.monotonic() + WAIT_S, ""
    while True:
        try:
            yield from _answer(chat, messages)
        except DaemonRefused as error:
            if error.status != NOT_READY or time.monotonic() > until:
                raise
            if error.message != told:
                told = error.message
                say(streams, f"waiting: {told}")
            time.sleep(LOOK_AGAIN_S)
        else:
            return


def _answer(chat: Chat, messages: list[Message]) -> Iterator[bytes]:
    """Yields each line of the answer. Raises PaddockError when it ends before it is done."""
    body = {"model": chat.model, "messages": messages, "stream": True}
    rest = b""
    for data in stream(chat.address, _ROUTE, body):
        *lines, rest = (rest + data).split(b"\n")
        yield from lines
    if rest.strip():
        yield rest


def _show(chat: Chat, line: bytes, streams: Streams) -> str:
    """Writes what is to be seen of one line and gives the words in it."""
    text = line.decode(errors="replace")
    answer = _parse(text)
    if "error" in answer:
        raise OllamaError(str(answer["error"]))
    content = (answer.get("message") or {}).get("content") or ""
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
