"""Values of parameters written as text, as a Modelfile has them.

Owns the conversion that `ollama create` makes (`ollama:api/types.go` FormatParams, v0.34.4) of the
text to the parameter's type, with Go's spellings of numbers and truth. Which parameters there are,
and within which bounds, is for `core/parameters.py`.
"""

from __future__ import annotations

import math
import re
import struct
from typing import Annotated, Any, get_args, get_origin

from paddock.core.parameters import Parameters, ParameterValue

_TRUTH = dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True)
_TRUTH |= dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False)

_DIGITS, _HEX_DIGITS = r"[0-9]+(?:_[0-9]+)*", r"_?[0-9a-fA-F]+(?:_[0-9a-fA-F]+)*"
_EXPONENT = rf"[+-]?{_DIGITS}"
_WHOLE = re.compile(r"[+-]?[0-9]{1,40}")
_DECIMAL = re.compile(rf"[+-]?(?:{_DIGITS}\.?|(?:{_DIGITS})?\.{_DIGITS})(?:[eE]{_EXPONENT})?")
_HEX = re.compile(rf"[+-]?0[xX]{_HEX_DIGITS}(?:\.(?:{_HEX_DIGITS})?)?[pP]{_EXPONENT}")
_SHORTEST_FLOAT32 = 9  # significant digits that tell any two of them apart


def read_text(name: str, text: str) -> ParameterValue:
    """Returns the value of a known parameter; one `stop` as a list of one.

    Raises ValueError, in a few words, where Ollama would refuse the text.
    """
    kind = _KINDS[name]
    if kind is bool:
        if text not in _TRUTH:
            raise ValueError("is not true or false")
        return _TRUTH[text]
    if kind is int:
        if not _WHOLE.fullmatch(text):
            raise ValueError("is not a whole number")
        return int(text)
    return _real(text) if kind is float else (text,)


def _real(text: str) -> float:
    """Reads a number and rounds it as Ollama does: to the shortest text of its nearest float32."""
    plain = text.replace("_", "")
    try:
        if _HEX.fullmatch(text):
            return _as_float32(float.fromhex(plain))
        if _DECIMAL.fullmatch(text):
            return _as_float32(float(plain))
    except OverflowError:
        raise ValueError("is not a number that Ollama can hold") from None
    raise ValueError("is not a number")


def _as_float32(number: float) -> float:
    if math.isinf(number):
        raise OverflowError
    packed = struct.pack("<f", number)  # OverflowError beyond its range
    [exact] = struct.unpack("<f", packed)
    for digits in range(1, _SHORTEST_FLOAT32):
        short = float(f"{exact:.{digits}g}")
        if abs(short) <= abs(exact) * 2 and struct.pack("<f", short) == packed:
            return short
    return float(f"{exact:.{_SHORTEST_FLOAT32}g}")


def _kind(annotation: Any) -> Any:
    """The plain type inside `Annotated[T, ...] | None` or `T | None`."""
    first = get_args(annotation)[0]
    plain = get_args(first)[0] if get_origin(first) is Annotated else first
    return get_origin(plain) or plain


_KINDS = {name: _kind(field.annotation) for name, field in Parameters.model_fields.items()}
