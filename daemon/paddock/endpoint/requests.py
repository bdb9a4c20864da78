"""Reads a request's body once, as Go's decoder would, and writes it again.

What is forwarded is written from what was read, so that Ollama cannot read another model, or
another keep_alive, than the one that was judged: `encoding/json` matches keys whatever their case
and takes the last of two. Values are kept as the text that the client sent: no number is rounded,
no key inside them is moved. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as _text
from json.scanner import make_scanner
from typing import Any, NoReturn, cast

from paddock.core.desired import Bounds, Residency
from paddock.core.keep_alive import KeepAlive
from paddock.core.policy import client_wire
from paddock.endpoint.ports import Admission

_SPACE = " \t\r\n"
_COLON = re.compile(rf"[{_SPACE}]*:[{_SPACE}]*")
_PLAIN_KEY = re.compile(rf'"([a-z_]+)"{_COLON.pattern}')
_OPENING = re.compile(rf"[{_SPACE}]*{{[{_SPACE}]*(}}?)[{_SPACE}]*")
_NEXT = re.compile(rf"[{_SPACE}]*([,}}])[{_SPACE}]*")
_MAX_KEYS = 256
_MAX_VALUES = 1_000_000  # a value costs about 100 bytes while it is scanned


class BadRequest(Exception):
    """A body that is not what Ollama would read as one request; one line for the client."""


@dataclass(frozen=True, slots=True)
class Body:
    """A request's top level: each key, folded, and its value as JSON text; and the model."""

    fields: Mapping[str, str]
    model: str

    def encode(self) -> bytes:
        """Writes the body that is forwarded."""
        members = [f"{_text(key)}:{value}" for key, value in self.fields.items()]
        return f"{{{','.join(members)}}}".encode()

    def with_keep_alive(self, admission: Admission) -> Body:
        """Puts the model's keep_alive in where the client gave none or may not give its own.

        null counts as none (`ollama:api/types.go Duration.UnmarshalJSON`). What a client may give
        as it likes is passed on as it came. Raises BadRequest for a time that has to be kept within
        bounds and is none.
        """
        given = self.fields.get("keep_alive", "null")
        residency, keep_alive = admission.residency, admission.keep_alive
        if given != "null" and is_clients_own(residency, keep_alive):
            return self
        bounded = given != "null" and isinstance(residency.clients, Bounds)
        wire = client_wire(residency, keep_alive, _time(given) if bounded else None)
        if wire is None and "keep_alive" not in self.fields:
            return self
        fields = {key: value for key, value in self.fields.items() if key != "keep_alive"}
        if wire is not None:
            fields["keep_alive"] = json.dumps(wire)
        return Body(fields, self.model)


def parse_body(data: bytes, *, model_keys: tuple[str, ...] = ("model",)) -> Body:
    """Reads a body; the first of `model_keys` that is not empty names the model.

    Raises BadRequest for what is not one JSON object in UTF-8, for two keys that are equal but
    for their case, and where no model is named.
    """
    fields = _object(_decode(data))
    for key in model_keys:
        model = _value(fields.get(key, "null"))
        if isinstance(model, str):
            if model:
                return Body(fields, model)
        elif model is not None:
            raise BadRequest(f"{key} must be a string")
    raise BadRequest("model is required")


def is_clients_own(residency: Residency, keep_alive: KeepAlive | None) -> bool:
    """Says whether a client's own keep_alive counts, whatever it is."""
    return (residency.clients or ("allow" if keep_alive is None else "deny")) == "allow"


def fold(key: str) -> str:
    """Folds a key as Go does when it matches it to a field, one letter to one letter.

    `encoding/json` uses simple folding: the long s is an s and the Kelvin sign a k.
    """
    if key.isascii():
        return key.lower()
    return "".join(map(_fold_letter, key))


def _fold_letter(letter: str) -> str:
    for folded in (letter.casefold(), letter.lower()):
        if len(folded) == 1:
            return folded
    return letter


def _decode(data: bytes) -> str:
    if not data or data.isspace():
        raise BadRequest("missing request body")
    if len(data) > _MAX_VALUES < data.count(b",") + data.count(b"[") + data.count(b"{"):
        raise BadRequest("the body has too many values")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8: byte {error.start}") from None


def _object(text: str) -> dict[str, str]:
    try:
        return _fields(text)
    except StopIteration as nothing:  # how the scanner says that no value begins there
        raise BadRequest(
            f"invalid JSON at character {nothing.value + 1}: Expecting value"
        ) from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"invalid JSON at character {error.pos + 1}: {error.msg}") from None
    except RecursionError:
        raise BadRequest("invalid JSON: nested too deeply") from None


def _fields(text: str) -> dict[str, str]:
    """Gives each key and the text of its value. Go ignores what follows; here it is an error."""
    fields: dict[str, str] = {}
    mark = _OPENING.match(text) or _refuse(text, 0, "a JSON object")
    while mark[1] != "}":
        plain = _PLAIN_KEY.match(text, mark.end())
        key, start = (plain[1], plain.end()) if plain else _any_key(text, mark.end())
        if key in fields:
            raise BadRequest(f"the key {_text(key)} stands twice, letter case apart")
        if len(fields) == _MAX_KEYS:
            raise BadRequest(f"the body has more than {_MAX_KEYS} keys")
        _, end = _SCAN(text, start)
        fields[key] = text[start:end]
        mark = _NEXT.match(text, end) or _refuse(text, end, "',' or '}'")
    if mark.end() != len(text):
        _refuse(text, mark.end(), "nothing after the object")
    return fields


def _any_key(text: str, at: int) -> tuple[str, int]:
    if not text.startswith('"', at):
        _refuse(text, at, "a key")
    name, end = _SCAN(text, at)
    colon = _COLON.match(text, end) or _refuse(text, end, "':'")
    return fold(name), colon.end()


def _refuse(text: str, at: int, what: str) -> NoReturn:
    at += len(text[at:]) - len(text[at:].lstrip(_SPACE))
    raise BadRequest(f"invalid JSON at character {at + 1}: expected {what}")


def _constant(name: str) -> NoReturn:
    raise BadRequest(f"invalid JSON: {name} is not a number")


def _value(text: str) -> object:
    """Gives what a text means that was scanned before."""
    return _SCAN(text, 0)[0]


def _time(text: str) -> KeepAlive:
    try:
        return KeepAlive.parse(_value(text))
    except ValueError as error:
        raise BadRequest(f"keep_alive {error}") from None


# Numbers are only scanned here, never used: float() has no limit of digits, int() has.
_SCAN = make_scanner(cast("Any", json.JSONDecoder(parse_int=float, parse_constant=_constant)))
