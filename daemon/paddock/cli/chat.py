"""`paddock chat NAME [PROMPT]`: talks to a model and shows its words as they come.

Owns the conversation: one prompt, one prompt from a pipe, or turn by turn on a terminal. It writes
to the streams that it is given, and knows the daemon's socket and Ollama's address as places to
ask; what may be asked is decided there.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from paddock.edges.daemon_client import Address, stream
from paddock.errors import OllamaError, PaddockError

INTERRUPTED = 130
_ROUTE = "/api/chat"

Message = dict[str, str]


class ChatOutput(enum.Enum):
    """What is shown of an answer: its words, or the lines as Ollama sent them."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Chat:
    """Which model, where it is asked, and how its answers are shown.

    `socket` is the socket of a daemon that answers; None goes to `ollama_url`, and says so.
    """

    model: str
    socket: Path | None
    ollama_url: str
    output: ChatOutput = ChatOutput.TEXT

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
        _say(streams, f"no daemon answers; asking ollama at {chat.ollama_url} directly")
    try:
        if prompt is None and streams.stdin.isatty():
            return _converse(chat, streams)
        _turn(chat, [], _prompt(prompt, streams), streams)
    except KeyboardInterrupt:
        streams.err.write("\n")
        return INTERRUPTED
    except PaddockError as error:
        _say(streams, error.message)
        return error.exit_code
    return 0


def _prompt(prompt: str | None, streams: Streams) -> str:
    text = streams.stdin.read() if prompt is None else prompt
    if not text.strip():
        raise PaddockError("the prompt is empty; give one as an argument or on stdin")
    return text


def _converse(chat: Chat, streams: Streams) -> int:
    """Takes turns until the end of input; an error ends a turn, not the conversation."""
    messages: list[Message] = []
    code = 0
    while True:
        streams.err.write(">>> ")
        streams.err.flush()
        line = streams.stdin.readline()
        if not line or line.strip() == "/bye":
            streams.err.write("\n")
            return code
        if not line.strip():
            continue
        try:
            messages = _turn(chat, messages, line.strip(), streams)
            code = 0
        except PaddockError as error:
            _say(streams, error.message)
            code = error.exit_code


def _turn(chat: Chat, messages: list[Message], prompt: str, streams: Streams) -> list[Message]:
    """Asks once and shows the answer; gives the conversation with both."""
    asked = [*messages, {"role": "user", "content": prompt}]
    words = ""
    try:
        for line in _answer(chat, asked):
            words += _show(chat, line, streams)
    finally:
        if chat.output is ChatOutput.TEXT and words and not words.endswith("\n"):
            streams.out.write("\n")
        streams.out.flush()
    return [*asked, {"role": "assistant", "content": words}]


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


def _say(streams: Streams, message: str) -> None:
    streams.err.write(f"paddock: {message}\n")
    streams.err.flush()
