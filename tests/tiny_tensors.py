"""Seeded random tensors for the tiny models, in the types that real files use.

Owns the numbers and their encoding. The same seed and the same order of calls give the same bytes
on every machine: `random.random` is Python's own generator, and F16 is packed by `struct`.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from math import sqrt

from gguf_files import F16, F32, Q8_0, Tensor

_BLOCK = 32


class Weights:
    """Draws tensors from one seed; `kind` is the type of the matrices."""

    def __init__(self, seed: int, kind: int = F16):
        self._draw = random.Random(seed)
        self._kind = kind

    def matrix(self, name: str, columns: int, rows: int, scale: float = 1.0) -> Tensor:
        """A matrix that keeps the size of what it multiplies, times `scale`."""
        return self._tensor(name, (columns, rows), self._values(columns * rows, columns, scale))

    def table(self, name: str, columns: int, rows: Sequence[bool]) -> Tensor:
        """A table with a random row for each True, and zeros for each False."""
        values = [
            value
            for is_random in rows
            for value in (self._values(columns, 1, 1.0) if is_random else [0.0] * columns)
        ]
        return self._tensor(name, (columns, len(rows)), values)

    def patches(self, name: str, side: int, channels: int, width: int) -> Tensor:
        """The kernel of a convolution over `side` by `side` pixels, in F32."""
        count = side * side * channels * width
        values = self._values(count, side * side * channels, 1.0)
        return Tensor(name, (side, side, channels, width), F32, data=_f32(values))

    def plain(self, name: str, columns: int, rows: int) -> Tensor:
        """A table in F32, whatever the type of the matrices."""
        values = self._values(columns * rows, 1, 1.0)
        return Tensor(name, (columns, rows), F32, data=_f32(values))

    def _values(self, count: int, columns: int, scale: float) -> list[float]:
        bound = scale * sqrt(3 / columns)  # a uniform spread of this bound has the variance 1/n
        return [bound * (2 * self._draw.random() - 1) for _ in range(count)]

    def _tensor(self, name: str, shape: tuple[int, ...], values: Sequence[float]) -> Tensor:
        encode = {F32: _f32, F16: _f16, Q8_0: _q8_0}[self._kind]
        return Tensor(name, shape, self._kind, data=encode(values))


def ones(name: str, count: int) -> Tensor:
    """A norm that changes nothing."""
    return Tensor(name, (count,), F32, data=_f32([1.0] * count))


def zeros(name: str, count: int) -> Tensor:
    """A bias that adds nothing."""
    return Tensor(name, (count,), F32)


def _f32(values: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def _f16(values: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(values)}e", *values)


def _q8_0(values: Sequence[float]) -> bytes:
    """Blocks of 32 values: one scale in F16, and each value's share of it in a byte."""
    blocks = []
    for begin in range(0, len(values), _BLOCK):
        block = values[begin : begin + _BLOCK]
        scale = max(map(abs, block)) / 127
        shares = [round(value / scale) if scale else 0 for value in block]
        blocks.append(struct.pack("<e32b", scale, *(max(-127, min(127, s)) for s in shares)))
    return b"".join(blocks)
