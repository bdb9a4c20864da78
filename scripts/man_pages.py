"""Writes man/paddock.1 and man/models.yaml.5: the commands and options as they are parsed, and what
the README says of them, of settings, exit codes and models.yaml.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import paddock
from paddock.cli.main import make_parser

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FILES = {
    "./models.yaml, /etc/paddock/models.yaml": "the models that there shall be: see models.yaml(5)",
    "/etc/paddock/config.yaml": "settings",
    "/run/paddock/paddock.sock, $XDG_RUNTIME_DIR/paddock.sock": "the daemon's socket",
    "/etc/credstore/hf-token": "a token for the Hugging Face Hub, under systemd",
    "~/.ollama/models/.paddock": "what Paddock remembers, beside Ollama's models",
    "/usr/share/doc/paddock": "the documents named here, where a package put them",
}
ABOUT_FILE = "What paddock(1) keeps Ollama's models by, in YAML. All that it may say:\n"
_INLINE = re.compile(r"`([^`]+)`|\*\*(.+?)\*\*|\[([^\]]+)\]\(([^)]+)\)")
_SPECIAL = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}


def pages() -> dict[str, str]:
    """The text of each page, by the name of its file."""
    return {"paddock.1": _command_page(), "models.yaml.5": _file_page()}


def _command_page() -> str:
    parser = make_parser()
    codes = [_item(inline(code), inline(text)) for code, text in _table("| exit code")]
    settings = [_setting(*row) for row in _table("| variable")]
    return "".join(
        [
            _title("PADDOCK", 1),
            _section("NAME", f"paddock \\- {_lowered(str(parser.description)).rstrip('.')}\n"),
            _section("SYNOPSIS", "\\fBpaddock\\fP [\\fIOPTION\\fP]... \\fICOMMAND\\fP [...]\n"),
            _section("DESCRIPTION", blocks(README.partition("## ")[0].partition("\n")[2])),
            _section("COMMANDS", *_commands(parser)),
            _section("OPTIONS", "They stand before or after the command.\n", *_options(parser)),
            _section("EXIT STATUS", *codes),
            _section("ENVIRONMENT", blocks(_between("\nSettings come from", "\n|")), *settings),
            _section("FILES", *(_item(f"\\fI{escaped(k)}\\fP", inline(FILES[k])) for k in FILES)),
            _section("SEE ALSO", "models.yaml(5), systemctl(1), journalctl(1)\n"),
        ]
    )


def _file_page() -> str:
    return "".join(
        [
            _title("MODELS.YAML", 5),
            _section("NAME", "models.yaml \\- the models that paddock keeps in Ollama\n"),
            _section("DESCRIPTION", ABOUT_FILE, blocks(_between("\n## models.yaml\n", "\n## "))),
            _section("SOURCES", blocks(_between("\n## Where models come from\n", "\n## "))),
            _section("SEE ALSO", "paddock(1)\n"),
        ]
    )


def _commands(parser: argparse.ArgumentParser) -> Iterator[str]:
    about = {row[0].split()[1].strip("`"): row for row in _table("| command")}
    common = {action.option_strings[-1] for action in _optional(parser)}
    for name, command in _choices(parser).items():
        usage, text = about[name]
        yield _item(inline(usage.replace("paddock ", "", 1)), inline(text))
        own = [a for a in _optional(command) if a.option_strings[-1] not in common]
        if own:
            yield ".RS\n" + "".join(map(_option, own)) + ".RE\n"


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    return map(_option, _optional(parser))


def _option(action: argparse.Action) -> str:
    names = ", ".join(f"\\fB{escaped(name)}\\fP" for name in action.option_strings)
    value = "|".join(map(str, action.choices or ())) or action.metavar if action.nargs != 0 else ""
    return _item(f"{names} \\fI{escaped(str(value or ''))}\\fP", escaped(action.help or ""))


def _optional(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [a for a in parser._actions if a.option_strings]  # noqa: SLF001


def _choices(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))  # noqa: SLF001
    return dict(next(found).choices)


def _setting(names: str, default: str, text: str) -> str:
    return _item(inline(names), inline(f"{text} (default: {default})"))


def _between(start: str, end: str) -> str:
    """The README from one text, with it where it is no heading, to the next of another."""
    _, found, rest = README.partition(start)
    return ("" if "## " in found else found) + rest.partition(end)[0]


def _table(start: str) -> list[list[str]]:
    """The rows of the README's table whose heading starts so."""
    rows = _between(start, "\n\n").splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def blocks(markdown: str) -> str:
    """Paragraphs, lists and blocks of code."""
    return "".join(map(_block, markdown.strip("\n").split("\n\n")))


def _block(block: str) -> str:
    if block.startswith("    "):
        return f".PP\n.RS 2\n.EX\n{escaped(dedent(block))}\n.EE\n.RE\n"
    if block.startswith("- "):
        items = re.split(r"^- ", block, flags=re.MULTILINE)[1:]
        return "".join(f".IP \\(bu 2\n{inline(item)}\n" for item in items)
    return f".PP\n{inline(block)}\n"


def inline(markdown: str) -> str:
    """A text with its code, its stress and its links."""
    text, end = "", 0
    markdown = " ".join(markdown.replace("\\|", "|").split())
    for match in _INLINE.finditer(markdown):
        code, bold, link, target = match.groups()
        text += escaped(markdown[end : match.start()])
        text += escaped(_link(link, target)) if link else f"\\fB{escaped(code or bold)}\\fP"
        end = match.end()
    return text + escaped(markdown[end:])


def _link(text: str, target: str) -> str:
    return target if text.lower() == "more" or text.lower() in target else f"{text} ({target})"


def escaped(text: str) -> str:
    """A text that roff takes for nothing else."""
    text = "".join(_SPECIAL.get(character, character) for character in text)
    return re.sub(r"^\.", r"\\&.", text, flags=re.MULTILINE)


def _title(name: str, section: int) -> str:
    lines = [
        '.\\" Written by scripts/man_pages.py: change the README or the parser, and run it.',
        f'.TH {name} {section} "" "Paddock {paddock.__version__}" "Paddock"',
        ".ad l",
        ".nh",
    ]
    return "\n".join([*lines, ""])


def _section(title: str, *parts: str) -> str:
    return f".SH {title}\n" + "".join(parts).removeprefix(".PP\n")


def _item(tag: str, text: str) -> str:
    return f".TP\n{tag.strip()}\n{text}\n"


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]


if __name__ == "__main__":
    for name, page in pages().items():
        (ROOT / "man" / name).write_text(page, encoding="utf-8")
