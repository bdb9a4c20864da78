"""Scalars: what one word of models.yaml means.

Owns the rules for values: YAML 1.2's core schema, an error for each plain word that YAML 1.1 and
1.2 read differently (so no tool reads the file otherwise than Paddock does), and `${env:NAME}`. A
quoted scalar is always text. Substitution comes after parsing: it never changes the structure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

Scalar: TypeAlias = str | int | float | bool | None

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = dict.fromkeys(("true", "True", "TRUE"), True)
_BOOLS |= dict.fromkeys(("false", "False", "FALSE"), False)
_INT = re.compile(r"[-+]?[0-9]+", re.ASCII)
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_SPECIAL_FLOAT = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_NOT_JUST_TEXT = frozenset("0123456789+-.~=<yYnNtTfFoO")  # how anything but text begins
_MAX_CHARS = 64  # of a number or word; beyond it the patterns below would only cost time
_LONG_NUMBER = re.compile(r"[-+.]?[0-9][0-9_:.]*")

_AMBIGUOUS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a boolean", re.compile(r"y|Y|n|N|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF")),
    ("an octal number", re.compile(r"[-+]?0[0-9][0-9_]*|[-+]?0o[0-7_]+")),
    ("a binary number", re.compile(r"[-+]?0b[01_]+")),
    ("a hexadecimal number", re.compile(r"[-+]0x[0-9a-fA-F_]+|0x[0-9a-fA-F_]*_[0-9a-fA-F_]*")),
    ("a number", re.compile(r"[-+]?\.?[0-9][0-9_]*_[0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?")),
    ("a number", re.compile(r"[-+]?[0-9]+\.[0-9]*_[0-9_]*([eE][-+]?[0-9]+)?")),
    (
        "a number",
        re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?([0-9]+\.[0-9]*|\.[0-9]+)[eE][0-9]+"),
    ),
    ("a number in base 60", re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")),
    ("a date", re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(([Tt]|[ \t]+)[0-9]{1,2}:.*)?")),
    ("a number", re.compile(r"[-+]\.[0-9][0-9_]*([eE][-+]?[0-9]+)?")),
    ("a special value", re.compile(r"=|<<")),
)

_INSTEAD = {"a boolean": ", or true or false"} | dict.fromkeys(
    ("an octal number", "a binary number", "a hexadecimal number", "a number"),
    ", or a plain number",
)

_REFERENCE = re.compile(
    r"(?P<escaped>\$\$\{env:)"
    r"|\$\{env:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}"
    r"|(?P<broken>\$\{env:[^}\s]{0,40}\}?)"
)


class ScalarError(ValueError):
    """A scalar that has no one meaning: `what` is wrong, and `hint` what to do."""

    def __init__(self, what: str, hint: str):
        super().__init__(what, hint)
        self.what = what
        self.hint = hint


def read_plain(text: str, env: Mapping[str, str]) -> Scalar:
    """Returns the value of an unquoted scalar. Raises ScalarError.

    One that is nothing but a reference takes the type that its value would have as a plain scalar;
    a value that YAML 1.1 and 1.2 read differently, or an empty one, stays text there.
    """
    if "${env:" in text:
        value = substitute(text, env)
        return _core(value) if _is_one_reference(text) and not _ambiguity(value) else value
    if text and text[0] not in _NOT_JUST_TEXT:
        return text
    if reading := _ambiguity(text):
        shown = text if len(text) <= _MAX_CHARS else f"{text[:_MAX_CHARS]}..."
        what = f"{shown} is {reading} to some YAML readers, and not to others"
        raise ScalarError(what, f'write "{shown}" in quotes{_INSTEAD.get(reading, "")}')
    return None if text in _NULLS else _core(text)


def substitute(text: str, env: Mapping[str, str]) -> str:
    """Returns `text` with its references filled in: the way of quoted scalars and keys.

    `${env:NAME:-default}` is `default` where NAME is unset or empty, as in a shell; `$${env:`
    stands for `${env:` itself. Raises ScalarError.
    """
    return _REFERENCE.sub(lambda found: _value(found, env), text) if "${env:" in text else text


def _value(found: re.Match[str], env: Mapping[str, str]) -> str:
    if found["escaped"]:
        return "${env:"
    if found["broken"]:
        hint = "write ${env:NAME} or ${env:NAME:-default}; $${env: stands for itself"
        raise ScalarError(f"{found[0]} is not a reference", hint)
    name, default = found["name"], found["default"]
    value = env.get(name, "")
    if default is not None and not value:
        return default
    if name not in env:
        hint = f"set it, or write ${{env:{name}:-default}}"
        raise ScalarError(f"the environment variable {name} is not set", hint)
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        raise ScalarError(f"the environment variable {name} is not UTF-8", "set it anew")
    return value


def _is_one_reference(text: str) -> bool:
    found = _REFERENCE.fullmatch(text)
    return found is not None and found["name"] is not None


def _ambiguity(text: str) -> str:
    """Says how YAML 1.1 or 1.2 reads a plain scalar that the other reads otherwise, or nothing."""
    if len(text) > _MAX_CHARS:
        return "a number" if _LONG_NUMBER.fullmatch(text) else ""
    return next((reading for reading, form in _AMBIGUOUS if form.fullmatch(text)), "")


def _core(text: str) -> str | int | float | bool:
    if text in _BOOLS:
        return _BOOLS[text]
    if len(text) > _MAX_CHARS:
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _HEX.fullmatch(text):
        return int(text, 16)
    if _SPECIAL_FLOAT.fullmatch(text):
        return float(text.replace(".", "", 1))
    return float(text) if _FLOAT.fullmatch(text) else text
