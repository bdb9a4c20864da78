"""The command line: options, commands, and what a failure exits with.

Parses and dispatches; the commands are in modules of their own, each imported when it is called, so
that a quick command stays quick.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import paddock
from paddock.cli import views
from paddock.errors import PaddockError, SettingsError

Command = Callable[[argparse.Namespace], int]

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130

_COMMON = (
    ("-f", "--file", {"metavar": "PATH", "help": "models.yaml, or a folder of such files"}),
    (None, "--ollama-host", {"metavar": "HOST", "help": "where Ollama answers"}),
    (None, "--models-dir", {"metavar": "DIR", "type": Path, "help": "Ollama's models folder"}),
    (None, "--socket", {"metavar": "PATH", "type": Path, "help": "the daemon's socket"}),
    ("-o", "--output", {"choices": ["text", "json", "yaml"], "help": "form of the result"}),
    (None, "--config", {"metavar": "PATH", "type": Path, "help": "the config file"}),
    ("-v", "--verbose", {"action": "store_true", "help": "say more"}),
    (None, "--no-color", {"action": "store_true", "help": "no colours"}),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    output = "text"
    try:
        options = _parser().parse_args(arguments)
        output = getattr(options, "output", "text")
        options.output = output
        command: Command = _command(options.command)
        return command(options)
    except PaddockError as error:
        views.fail(error.reason, error.message, error.exit_code, output)
        return error.exit_code
    except BrokenPipeError:
        # The reader has gone: what is left in the buffer has nowhere to go.
        sys.stdout = None
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _command(name: str) -> Command:
    if name in {"validate", "schema"}:
        from paddock.cli import spec

        return {"validate": spec.validate, "schema": spec.schema}[name]
    if name in {"plan", "apply", "adopt"}:
        from paddock.cli import converge

        return {"plan": converge.plan, "apply": converge.apply, "adopt": converge.adopt}[name]
    from paddock.cli import daemon

    return {"run": daemon.run, "status": daemon.status, "chat": daemon.chat}[name]


class _Parser(argparse.ArgumentParser):
    """Wrong usage exits with 64: 2 is `plan --detailed-exitcode` with changes pending."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}; see {self.prog} --help", reason="Usage")


def _parser() -> argparse.ArgumentParser:
    common = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    for short, long, details in _COMMON:
        common.add_argument(*filter(None, (short, long)), **details)
    parser = _Parser(
        prog="paddock",
        description="Keeps this host's Ollama models as models.yaml says.",
        parents=[common],
    )
    parser.add_argument("--version", action="version", version=f"paddock {paddock.__version__}")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=_Parser
    )

    def add(name: str, about: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=about, description=about, parents=[common])

    add("validate", "check models.yaml and say all that is wrong").add_argument(
        "files", nargs="*", metavar="FILE", type=Path
    )
    add("plan", "show what apply would do").add_argument(
        "--detailed-exitcode", action="store_true", help="exit with 2 when changes are pending"
    )
    add("apply", "make the models be as the file says").add_argument(
        "--timeout", metavar="TIME", default=None, help="give up after this time, such as 10m"
    )
    add("run", "keep the models as the file says, and serve the socket")
    add("status", "show how the models stand").add_argument("name", nargs="?", metavar="NAME")
    chat = add("chat", "chat with a model through the daemon's socket")
    chat.add_argument("name", metavar="NAME")
    chat.add_argument("prompt", nargs="?", metavar="PROMPT")
    chat.add_argument("--system", metavar="TEXT", help="a system message for this chat")
    chat.add_argument(
        "--image",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="an image for the first prompt; may be repeated",
    )
    chat.add_argument("--json", action="store_true", help="print the answer's lines as they come")
    add("adopt", "claim models that exist, so that they may be changed").add_argument(
        "names", nargs="+", metavar="NAME"
    )
    add("schema", "print a JSON Schema").add_argument(
        "kind", nargs="?", choices=["models", "status", "plan"], default="models"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
