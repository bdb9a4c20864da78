"""A conversation on a terminal: turn by turn, with history.

Reads lines and shows answers through `cli/chat.py`. Keeps the lines typed, for the arrow keys, in
the user's own state folder; keeps no answer.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from paddock.cli.chat import Chat, Message, Streams, opening, say, turn
from paddock.errors import PaddockError

PROMPT = ">>> "
MORE = "... "
QUOTES = '"""'
HISTORY_LINES = 1000
HELP = """\
  /bye            leave (also Ctrl-D)
  /clear          forget the conversation so far
  /system TEXT    set the system message, and begin anew
  \"\"\"             begin and end a prompt of several lines
  Ctrl-C          stop the answer, not the program
"""


def converse(chat: Chat, streams: Streams) -> int:
    """Takes turns until the end of input; an error ends a turn, not the conversation."""
    messages, code = opening(chat), 0
    with _history(streams):
        while True:
            try:
                line = _read_prompt(streams)
            except KeyboardInterrupt:
                say(streams, "Ctrl-D or /bye leaves")
                continue
            if line is None or line == "/bye":
                streams.err.write("\n")
                return code
            if line.startswith("/"):
                messages = _command(line, messages, streams)
            elif line:
                messages, code = _take_turn(chat, messages, line, streams)


def _take_turn(
    chat: Chat, messages: list[Message], line: str, streams: Streams
) -> tuple[list[Message], int]:
    try:
        return turn(chat, messages, line, streams), 0
    except KeyboardInterrupt:
        say(streams, "stopped")
        return messages, 0
    except PaddockError as error:
        say(streams, error.message)
        return messages, error.exit_code


def _command(line: str, messages: list[Message], streams: Streams) -> list[Message]:
    """Carries out a line that begins with a slash; gives the conversation that follows."""
    word, _, rest = line.partition(" ")
    match word:
        case "/clear":
            return [message for message in messages if message["role"] == "system"]
        case "/system" if rest.strip():
            return [{"role": "system", "content": rest.strip()}]
        case _:
            streams.err.write(HELP)
            return messages


def _read_prompt(streams: Streams) -> str | None:
    """Reads one prompt, of several lines between quotes; None at the end of input."""
    line = _read_line(PROMPT, streams)
    if line is None or not line.strip().startswith(QUOTES):
        return None if line is None else line.strip()
    lines = [line.strip().removeprefix(QUOTES)]
    while not lines[-1].rstrip().endswith(QUOTES):
        more = _read_line(MORE, streams)
        if more is None:
            return None
        lines.append(more.rstrip("\n"))
    return "\n".join(lines).rstrip().removesuffix(QUOTES).strip()


def _read_line(prompt: str, streams: Streams) -> str | None:
    if _is_terminal(streams):
        try:
            return input(prompt)
        except EOFError:
            return None
    streams.err.write(prompt)
    streams.err.flush()
    return None if streams.stdin is None else streams.stdin.readline() or None


def _is_terminal(streams: Streams) -> bool:
    both = streams.stdin is sys.stdin and streams.out is sys.stdout
    return both and streams.out.isatty()  # else the prompts would go into the answers' file


@contextlib.contextmanager
def _history(streams: Streams) -> Iterator[None]:
    """The arrow keys find what was typed, also in earlier conversations."""
    if not _is_terminal(streams):
        yield
        return
    import readline

    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    path = state / "paddock" / "chat_history"
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        readline.read_history_file(path)
    readline.set_history_length(HISTORY_LINES)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            readline.write_history_file(path)
            path.chmod(0o600)
