"""The command line: options, commands, and what a failure exits with.

Parses and dispatches; the commands are in modules of their own, each imported when it is called, so
that a quick command stays quick.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias

import paddock
from paddock.cli import views
from paddock.errors import PaddockError, SettingsError

Command = Callable[[argparse.Namespace], int]
# Adds a command: its name, what it is about, and its options where they are not the common ones.
Add: TypeAlias = Callable[..., argparse.ArgumentParser]

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
# As core/layouts.py has them, which `paddock status` has no need to import.
LAYOUTS = ("directory", "lmstudio", "huggingface", "llamacpp", "transformerlab")

# Each command's module below paddock.cli, and its function there.
_COMMANDS = {
    "adopt": "adopt.adopt",
    "apply": "converge.apply",
    "chat": "daemon.chat",
    "completion": "completion.run",
    "doctor": "doctor.run",
    "events": "events.run",
    "explain": "explain.run",
    "export": "export.run",
    "install-service": "install_service.install",
    "outdated": "outdated.outdated",
    "pause": "pause.pause",
    "plan": "plan.plan",
    "resume": "pause.resume",
    "run": "daemon.run",
    "scan": "scan.scan",
    "schema": "spec.schema",
    "status": "status.run",
    "uninstall-service": "install_service.uninstall",
    "validate": "spec.validate",
    "verify": "verify.run",
}

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


# Nearly all that we make is data without circles, which goes by itself: looking through thousands
# of models for circles took up to a third of a cycle.
GC_THRESHOLD = (20_000, 50, 100)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    output = "text"
    gc.set_threshold(*GC_THRESHOLD)
    atexit.register(gc.freeze)  # what is left goes with the process, circles or not
    try:
        options = make_parser().parse_args(arguments)
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
    module, _, function = _COMMANDS[name].partition(".")
    command: Command = getattr(importlib.import_module(f"paddock.cli.{module}"), function)
    return command


class _Parser(argparse.ArgumentParser):
    """Wrong usage exits with 64: 2 is `plan --detailed-exitcode` with changes pending."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}; see {self.prog} --help", reason="Usage")


def _common(without: str = "") -> _Parser:
    """The common options, without one short form of them that a command has for itself."""
    common = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    for short, long, details in _COMMON:
        names = [name for name in (short, long) if name and name != without]
        common.add_argument(*names, **details)
    return common


def make_parser() -> argparse.ArgumentParser:
    """The parser of every command and option."""
    common = _common()
    parser = _Parser(
        prog="paddock",
        description="Keeps this host's Ollama models as models.yaml says.",
        parents=[common],
    )
    parser.add_argument("--version", action="version", version=f"paddock {paddock.__version__}")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=_Parser
    )

    def add(name: str, about: str, options: _Parser = common) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=about, description=about, parents=[options])

    add("validate", "check models.yaml and say all that is wrong").add_argument(
        "files", nargs="*", metavar="FILE", type=Path
    )
    add("plan", "show what apply would do").add_argument(
        "--detailed-exitcode", action="store_true", help="exit with 2 when changes are pending"
    )
    apply = add("apply", "make the models be as the file says")
    apply.add_argument(
        "--timeout", metavar="TIME", default=None, help="give up after this time, such as 10m"
    )
    apply.add_argument(
        "--prune",
        action="store_true",
        help="remove models of paddock's that the file does not name",
    )
    add("run", "keep the models as the file says, and serve the socket").add_argument(
        "--managed",
        action=argparse.BooleanOptionalAction,
        help="start Ollama where none answers, and stop it at exit",
    )
    status = add("status", "show how the models stand")
    status.add_argument("name", nargs="?", metavar="NAME")
    status.add_argument("--watch", action="store_true", help="go on, and show what changes")
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
    adopt = add("adopt", "claim models that exist, and add them to models.yaml")
    adopt.add_argument("names", nargs="*", metavar="NAME")
    adopt.add_argument("--all", action="store_true", help="every model that is installed")
    adopt.add_argument("--dry-run", action="store_true", help="show the change, and make none")
    export = add("export", "print models.yaml for what is installed")
    export.add_argument("names", nargs="*", metavar="NAME")
    export.add_argument(
        "--digests",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="pin each source by its digest (the default)",
    )
    verify = add("verify", "hash the files of models against their digests")
    verify.add_argument("names", nargs="*", metavar="NAME")
    verify.add_argument("--repair", action="store_true", help="mend what can be mended")
    behind = add("outdated", "show which pulled models their registries have newer ones of")
    behind.add_argument("names", nargs="*", metavar="NAME")
    behind.add_argument(
        "--detailed-exitcode", action="store_true", help="exit with 2 when something is outdated"
    )
    scan = add("scan", "print models.yaml for the GGUFs that lie in folders")
    scan.add_argument("folders", nargs="+", metavar="DIR")
    scan.add_argument("--layout", choices=LAYOUTS, help="how the files lie (guessed)")
    scan.add_argument("--name", metavar="TEMPLATE", help="what models are called")
    scan.add_argument(
        "--discover", action="store_true", help="print discover entries, not each model"
    )
    _add_caring(add)
    _add_service(add)
    add("doctor", "check this host, and tell what to do about what stands in the way")
    add("schema", "print a JSON Schema").add_argument(
        "kind", nargs="?", choices=["models", "status", "plan"], default="models"
    )
    add("completion", "print the script by which a shell completes commands").add_argument(
        "shell", choices=["bash", "zsh", "fish"]
    )
    return parser


def _add_service(add: Add) -> None:
    """The commands for Paddock as a service of systemd."""
    for name, about in (
        ("install-service", "put Paddock in place as a service of systemd, and start it"),
        ("uninstall-service", "take away what install-service made"),
    ):
        service = add(name, about)
        service.add_argument("--user", action="store_true", help="beside your own Ollama")
        service.add_argument("--dry-run", action="store_true", help="tell, and do nothing")


def _add_caring(add: Add) -> None:
    """The commands for what is done about a model, or shall not be."""
    for name, about in (
        ("pause", "leave models alone until they are resumed"),
        ("resume", "care for paused models again"),
    ):
        add(name, about).add_argument("names", nargs="+", metavar="NAME")
    add("explain", "tell all that is known of one model").add_argument("name", metavar="NAME")
    events = add("events", "print what happened, from the daemon", _common(without="-f"))
    events.add_argument("-f", "--follow", action="store_true", help="go on with what happens")
    events.add_argument("--since", metavar="ID", type=int, default=0, help="those after this one")


if __name__ == "__main__":
    raise SystemExit(main())
