"""The names of discovered models: from a template and a file's place to a valid name, each its own.

Owns the template (`{publisher}/{stem}`), the way in which text of the file system becomes Ollama's
grammar, and what happens when two files would get one name. Pure; the same file gets the same name
whatever lies beside it, unless another one has it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from string import Formatter

from paddock.core.discover_files import without_quant
from paddock.core.names import DEFAULT_HOST, DEFAULT_NAMESPACE, DEFAULT_TAG, Name, is_scratch
from paddock.errors import InvalidName

FIELDS = ("publisher", "repo", "stem", "dir", "quant")
MAX_CHARS = 80
SHORT_HEX = 6

_FOREIGN = {
    "host": re.compile(r"[^a-z0-9_.-]"),
    "namespace": re.compile(r"[^a-z0-9_-]"),
    "model": re.compile(r"[^a-z0-9_.-]"),
    "tag": re.compile(r"[^a-z0-9_.-]"),
}
_SEPARATORS = "-_."


@dataclass(frozen=True, slots=True)
class NameTemplate:
    """A name with fields in it, cut into the name's parts; a part that is left out is empty."""

    text: str
    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> NameTemplate:
        """Reads a template. Raises ValueError with one sentence, `what; what to do`."""
        fields = _fields(text)
        if not fields:
            raise ValueError(
                f"gives every file the same name; write a field into it: {_braced(FIELDS)}"
            )
        unknown = [field for field in fields if field not in FIELDS]
        if unknown:
            raise ValueError(
                f"there is no field {{{unknown[0]}}}; the fields are {_braced(FIELDS)}"
            )
        _check(text)
        head, colon, tag = text.rpartition(":")
        if not colon or "/" in tag:
            head, tag = text, ""
        head, _, model = head.rpartition("/")
        host, _, namespace = head.rpartition("/")
        return cls(text, host, namespace, model, tag)

    def name(self, fields: Mapping[str, str], path: str) -> Name:
        """The name for a file with these fields, `path` below its folder. A field that is empty
        takes the separator beside it along; with {quant} in the template {stem} is without it."""
        if "{quant}" in self.text and fields["quant"]:
            fields = {**fields, "stem": without_quant(fields["stem"]) or fields["stem"]}
        model = _part("model", self.model, fields) or f"gguf-{_hex(path)[:SHORT_HEX]}"
        tag = _part("tag", self.tag, fields) or DEFAULT_TAG
        if tag in {"cloud", "local"} or tag.endswith("-cloud"):  # Ollama keeps them to itself
            tag = f"{tag[: MAX_CHARS - len('-gguf')]}-gguf"
        return Name(
            _part("host", self.host, fields) or DEFAULT_HOST,
            _part("namespace", self.namespace, fields) or DEFAULT_NAMESPACE,
            model,
            tag,
        )

    def __str__(self) -> str:
        return self.text


def unique(name: Name, folder: str, path: str, taken: Collection[Name]) -> Name:
    """The name, or one made of it and the path's digest where that is taken (`taken` folded)."""
    if _is_free(name, taken):
        return name
    short = _hex(path)[:SHORT_HEX]
    # Two folders may hold a file at the same path.
    long = _hex(f"{folder}\0{path}")
    for suffix in (short, *(long[:length] for length in range(SHORT_HEX, len(long) + 1))):
        model = f"{name.model[: MAX_CHARS - 1 - len(suffix)]}-{suffix}"
        if _is_free(found := replace(name, model=model), taken):
            return found
    raise AssertionError("two files with one digest")


def _is_free(name: Name, taken: Collection[Name]) -> bool:
    return name.folded not in taken and not is_scratch(name)


def _fields(text: str) -> list[str]:
    try:
        pieces = list(Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"braces do not match ({error}); write {{stem}}") from error
    for _, field, spec, conversion in pieces:
        if field is not None and (spec or conversion):
            raise ValueError(f"{{{field}}} takes no format; write {{{field}}} alone")
    return [field for _, field, _, _ in pieces if field is not None]


def _check(text: str) -> None:
    """What stands around the fields must be of Ollama's grammar."""
    sample = re.sub(r"\{[a-z]+\}", "x", text)
    try:
        if "://" in text:
            raise InvalidName("it holds '://'; leave that out")
        Name.parse(sample)
    except InvalidName as error:
        what = error.message.partition(": ")[2] or error.message
        raise ValueError(f"gives no model name: {what}") from error


def _part(kind: str, template: str, fields: Mapping[str, str]) -> str:
    """One part of a name; empty when all its fields are."""
    named = [piece[1] for piece in Formatter().parse(template) if piece[1] is not None]
    values = {field: _FOREIGN[kind].sub("-", value.lower()) for field, value in fields.items()}
    if named and not any(values[field] for field in named):
        return ""
    text = template.format_map(values).lower().lstrip("-.")
    if not all(values[field] for field in named):
        text = text.strip(_SEPARATORS)
    return text[:MAX_CHARS]


def _hex(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _braced(fields: tuple[str, ...]) -> str:
    return " ".join(f"{{{field}}}" for field in fields)
