"""models.yaml as text: plain data written the way that people write the file.

Owns the style of what Paddock writes (sources on one line, long texts as literal blocks) and the
quoting: a word that YAML 1.1 and 1.2 might read differently stands in double quotes, `${env:` is
escaped, and what is written loads back to the same values. Pure: no file is known or opened here;
`edges/specfile` reads, and adds what is made here to a file that is there already.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from paddock.core.spec import VERSION

SCHEMA_FILE = "models.v1.schema.json"
WIDTH = 100
_STEP = 2
_ONE_LINE = frozenset({"source"})  # however long
_MAX_KEY_CHARS = 1000  # libyaml looks 1024 characters ahead for the ":" of a key

# Letters and marks that begin and continue a plain word, whatever stands around it. `:` and `,`
# are plain too in block context, where nothing else ends at them.
_INNER = r"\w./+\-@%=~!;'()"
_FLOW_PLAIN = re.compile(rf"(?:[\w./]|~(?=/))(?:[{_INNER} ]*[{_INNER}])?")
_BLOCK_PLAIN = re.compile(rf"(?:[\w./]|~(?=/))(?:(?:[{_INNER}, ]|:(?=[{_INNER}]))*[{_INNER}])?")
_NUMERIC = re.compile(r"[0-9.][0-9a-fA-FxXoOtTzZiInN+\-.:_, ]*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_UNWRITTEN = r"\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff"
_ESCAPED = re.compile(rf'["\\{_UNWRITTEN}]')
_NO_LITERAL = re.compile(rf"(?![\n\t])[{_UNWRITTEN}]|(?:^|\n)[ \t]+(?:\n|$)")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Unwritable(ValueError):
    """A value that models.yaml cannot hold: a NUL character, or half a surrogate pair."""


def models_text(
    models: Mapping[str, Mapping[str, Any]],
    *,
    comments: Mapping[str, str] | None = None,
    indent: int = _STEP,
) -> str:
    """Returns the entries of `models:`, each key of a model on lines of its own, `indent` deep.

    `comments` are lines above an entry, by its name. Ends in a newline, whatever follows cannot
    change a value; no entries are an empty text. Raises Unwritable.
    """
    said = comments or {}
    entries = [
        "".join([_comment(said.get(name, ""), indent), *_entry(name, model, indent)])
        for name, model in models.items()
    ]
    return "\n".join(entries)


def spec_text(
    models: Mapping[str, Mapping[str, Any]],
    *,
    comments: Mapping[str, str] | None = None,
    head: str = "",
    tail: str = "",
    schema: str = SCHEMA_FILE,
) -> str:
    """Returns a whole models.yaml, version 1, with modelines that name its schema.

    `head` and `tail` are comments before and after all that is said. Raises Unwritable.
    """
    parts = [
        _comment(f"yaml-language-server: $schema={schema}\n$schema: {schema}", 0),
        _comment(head, 0),
        f"version: {VERSION}\n",
        f"models:\n{models_text(models, comments=comments)}" if models else "models: {}\n",
        _comment(tail, 0),
    ]
    return "\n".join(part for part in parts if part)


def list_text(key: str, items: Sequence[Mapping[str, Any]]) -> str:
    """Returns one of the lists that stand beside `models:`, such as discover. Raises Unwritable."""
    return "".join(_pair(key, list(items), 0))


def _comment(text: str, indent: int) -> str:
    """Comment lines, in which nothing can end the comment."""
    lines = [re.sub(f"[{_UNWRITTEN}\ud800-\udfff]", "?", line) for line in text.split("\n")]
    return "".join(f"{' ' * indent}# {line}".rstrip() + "\n" for line in lines if text)


def _entry(name: str, model: Mapping[str, Any], indent: int) -> Iterator[str]:
    yield f"{' ' * indent}{_key(name)}:" + (" {}\n" if not model else "\n")
    for key, value in model.items():
        yield from _pair(key, value, indent + _STEP)


def _pair(key: str, value: Any, indent: int) -> Iterator[str]:
    """Lines of one key of a block mapping and its value."""
    start = f"{' ' * indent}{_key(key)}:"
    yield from _value(start, value, indent, one_line=key in _ONE_LINE)


def _value(start: str, value: Any, indent: int, *, one_line: bool = False) -> Iterator[str]:
    """A value after `start`, its key or dash: on that line if it fits, else below it."""
    match value:
        case str():
            yield f"{start} {_text(value, indent + _STEP)}\n"
        case Mapping() | list() | tuple() if value and not one_line and _is_long(start, value):
            yield f"{start}\n"
            yield from _block(value, indent + _STEP)
        case _:
            yield f"{start} {_flow(value)}\n"


def _block(value: Mapping[str, Any] | Sequence[Any], indent: int) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _pair(key, item, indent)
        return
    for item in value:
        dash = f"{' ' * indent}-"
        if isinstance(item, Mapping) and item and _is_long(dash, item):
            # The first key of a mapping stands beside the dash, the others below that key.
            lines = "".join(_block(item, indent + _STEP))
            yield f"{dash} {lines[indent + _STEP :]}"
        else:
            yield from _value(dash, item, indent)


def _is_long(start: str, value: Mapping[str, Any] | Sequence[Any]) -> bool:
    """Whether a collection must be, and can be, written over several lines."""
    texts = list(_texts(value))
    if any(len(_quoted(text)) > _MAX_KEY_CHARS for text in _keys(value)):
        return False  # only flow style has a short form for such a key
    if any("\n" in text.strip("\n") for text in texts):
        return True
    return len(start) + 1 + len(_flow(value)) > WIDTH


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            for item in value.values():
                yield from _texts(item)
        case list() | tuple():
            for item in value:
                yield from _texts(item)


def _keys(value: Any) -> Iterator[str]:
    items = value.values() if isinstance(value, Mapping) else value
    if isinstance(value, Mapping):
        yield from value
    for item in items:
        if isinstance(item, Mapping | list | tuple):
            yield from _keys(item)


def _flow(value: Any) -> str:
    """A value on one line, as it may stand between `{` and `}`."""
    match value:
        case str():
            return _plain_or_quoted(value, _FLOW_PLAIN)
        case Mapping():
            pairs = [f"{_flow_key(key)}: {_flow(item)}" for key, item in value.items()]
            return f"{{{', '.join(pairs)}}}"
        case list() | tuple():
            return f"[{', '.join(map(_flow, value))}]"
        case _:
            return _scalar(value)


def _flow_key(key: str) -> str:
    text = _plain_or_quoted(key, _FLOW_PLAIN)
    return f"? {text} " if len(text) > _MAX_KEY_CHARS else text


def _key(key: str) -> str:
    return _plain_or_quoted(key, _BLOCK_PLAIN)


def _scalar(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return _number(value)
        case _:
            raise TypeError(f"{type(value).__name__} has no place in models.yaml")


def _number(value: float) -> str:
    """A float that YAML 1.1 takes for one too: it asks for a dot and a signed exponent."""
    if not math.isfinite(value):
        return f"{value}".replace("inf", ".inf").replace("nan", ".nan")
    digits, exponent, power = repr(value).partition("e")
    return f"{digits if '.' in digits else f'{digits}.0'}{exponent}{power}"


def _text(text: str, indent: int) -> str:
    """A text in block context: plain, quoted, or over the lines below."""
    if "\n" not in text.strip("\n"):
        return _plain_or_quoted(text, _BLOCK_PLAIN)
    _check(text)
    if text.endswith("\n\n") or _NO_LITERAL.search(text):
        return _quoted_lines(text, indent)
    return _literal(text.replace("${env:", "$${env:"), indent)


def _literal(text: str, indent: int) -> str:
    """A literal block. It never ends in an empty line, which what follows could add to."""
    indicator = str(_STEP) if text[0] in " \t\n" else ""
    chomp = "" if text.endswith("\n") else "-"
    lines = [f"{' ' * indent}{line}" if line else "" for line in text.split("\n")]
    return "\n".join([f"|{indicator}{chomp}", *lines]).removesuffix("\n")


def _quoted_lines(text: str, indent: int) -> str:
    """Double quotes with a line of text on each line, for what a literal block cannot hold."""
    lines = [_escaped(line) for line in text.split("\n")]
    # Space that begins a line would be folded away.
    pad = "\\n\\\n" + " " * indent
    return '"' + pad.join(re.sub(r"^(?= )", r"\\", line) for line in lines) + '"'


def _plain_or_quoted(text: str, plain: re.Pattern[str]) -> str:
    if plain.fullmatch(text) and text.lower() not in _WORDS and not _NUMERIC.fullmatch(text):
        return text
    return _quoted(text)


def _quoted(text: str) -> str:
    _check(text)
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    return _ESCAPED.sub(_escape, text.replace("${env:", "$${env:"))


def _escape(found: re.Match[str]) -> str:
    char = found[0]
    return _ESCAPES.get(char) or (
        f"\\x{ord(char):02x}" if char < "\u0100" else f"\\u{ord(char):04x}"
    )


def _check(text: str) -> None:
    if "\0" in text or _SURROGATE.search(text):
        raise Unwritable(f"{text[:40]!r} holds a character that models.yaml cannot hold")
