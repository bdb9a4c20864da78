"""Sizes: bytes as people write and read them. Pure."""

from __future__ import annotations

import re
from fractions import Fraction

_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_BINARY = {"ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?) ?([kmgt]i?)?b?", re.IGNORECASE | re.ASCII)
_SHOWN = ("B", "KiB", "MiB", "GiB", "TiB")


def parse_size(value: object) -> int:
    """The bytes of `20GiB`, `512MB`, `1.5 GiB` or a plain number of bytes. Raises ValueError with
    one sentence."""
    if type(value) is int:
        return value
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError("is not a size; write a number and a unit, such as 20GiB")
    unit = (found[2] or "").lower()
    return int(Fraction(found[1]) * (_UNITS | _BINARY)[unit])


def show_size(size_bytes: int) -> str:
    """Bytes in words of three digits or so: `18.6 GiB`."""
    value, unit = float(size_bytes), 0
    while value >= 1024 and unit < len(_SHOWN) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {_SHOWN[unit]}" if unit == 0 else f"{value:.1f} {_SHOWN[unit]}"
