"""The tiny models as files in a folder, and pictures to show to those that see."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

import tiny_models as tiny

RED, BLUE = (255, 0, 0), (0, 0, 255)
SPLIT = ("tiny-00001-of-00002.gguf", "tiny-00002-of-00002.gguf")


def write_all(folder: Path) -> Path:
    """Writes one file of each kind below `folder`, under the name of its kind; about 2 MB."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "base": tiny.base_model(),
        "chat": tiny.chat_model(),
        "quantised": tiny.quantised_model(),
        "unnamed": tiny.quantised_model(file_type=tiny.UNNAMED_FILE),
        "embedding": tiny.embedding_model(),
        "projector": tiny.projector(),
        "adapter": tiny.adapter(),
        "idle-adapter": tiny.adapter(strength=0.0),
        "draft": tiny.draft(),
    }
    for name, content in files.items():
        (folder / f"{name}.gguf").write_bytes(content)
    for name, content in tiny.split_model().items():
        (folder / name).write_bytes(content)
    return folder


def picture(colour: tuple[int, int, int], side: int = tiny.IMAGE) -> str:
    """Returns a PNG of one colour, as requests to Ollama carry it: in base64."""
    rows = (b"\0" + bytes(colour) * side) * side
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)
    return base64.b64encode(content).decode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
