"""File names of GGUFs: what people and programs put into them.

Owns the conventions: quantisation (`-Q4_K_M`), parts of a split model (`-00001-of-00003`),
projectors (`mmproj`), importance matrices, and files that are still being written. Pure: looks at
names only, since discovering opens no model.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from functools import lru_cache

SUFFIX = ".gguf"
_KEPT = 32_768  # the same names are looked at in every cycle

_QUANT = re.compile(
    r"(?<![a-z0-9])((?:iq|tq|q)\d(?:_(?:\d|k|s|m|l|xl|xxl|xs|xxs|nl))*"
    r"|bf16|fp?16|fp?32|mxfp4(?:_moe)?|nvfp4)(?![a-z0-9])",
    re.IGNORECASE,
)
# As llama.cpp names the parts that gguf-split makes.
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})")
_HALF_WRITTEN = (
    "aria2",
    "crdownload",
    "download",
    "downloadinprogress",
    "incomplete",
    "opdownload",
    "part",
    "partial",
    "tmp",
)
_HALF = re.compile(rf"\.({'|'.join(_HALF_WRITTEN)})$", re.IGNORECASE)
_GGUF_INSIDE = re.compile(r"\.gguf(\.|$)", re.IGNORECASE)
# What is left of "mmproj-model-f16.gguf" tells nothing about the model that it goes with.
_WORDS_FOR_ANY = frozenset({"", "model", "vision", "clip", "encoder", "projector"})


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of a split GGUF: number and count from its name, numbers from 1."""

    stem: str
    number: int
    count: int


def matters(name: str) -> bool:
    """Whether a file may be a GGUF, or one that is being written."""
    return _GGUF_INSIDE.search(name) is not None


def is_half_written(name: str) -> bool:
    """Whether a download or an editor gave the file a name for the time being."""
    return _HALF.search(_stem(name)) is not None


def is_gguf(name: str) -> bool:
    """Whether a file says that it is a whole GGUF."""
    return name.lower().endswith(SUFFIX) and not is_half_written(name)


def is_projector(name: str) -> bool:
    """Whether a file is named as a projector."""
    return "mmproj" in name.lower()


def is_imatrix(name: str) -> bool:
    """Whether a file is named as an importance matrix, which is no model."""
    stem = _stem(name).lower()
    return stem.startswith("imatrix") or stem.endswith((".imatrix", "-imatrix", "_imatrix"))


@lru_cache(maxsize=_KEPT)
def shard_of(name: str) -> Shard | None:
    """Which part of a split GGUF a file is, if any; a whole one in one part is none."""
    found = _SHARD.fullmatch(_stem(name))
    if found is None or int(found["count"]) < 2:
        return None
    return Shard(found["stem"], int(found["number"]), int(found["count"]))


def shard_name(shard: Shard, number: int, like: str) -> str:
    """The name of another part of the set, with the extension spelt as `like` has it."""
    return f"{shard.stem}-{number:05}-of-{shard.count:05}{like[-len(SUFFIX) :]}"


@lru_cache(maxsize=_KEPT)
def stem_of(name: str) -> str:
    """A file's name without extension and part number."""
    shard = shard_of(name)
    return _stem(name) if shard is None else shard.stem


@lru_cache(maxsize=_KEPT)
def quant_of(stem: str) -> str:
    """The quantisation that a name tells, as it spells it; empty when it tells none."""
    found = _QUANT.findall(stem)
    return str(found[-1]) if found else ""


def without_quant(stem: str) -> str:
    """A name without its quantisation and the separator before it."""
    quant = quant_of(stem)
    if not quant:
        return stem
    before, _, after = stem.rpartition(quant)
    return before.rstrip("-_.") + after


def belongs_to(projector: str, stem: str) -> int:
    """How well a projector's name fits a model's: the letters that they share, 0 for none."""
    words = projected(projector)
    return len(words) if words and words in _letters(without_quant(stem)) else 0


def projected(projector: str) -> str:
    """The letters and digits of the model that a projector names; empty when it names none."""
    words = re.split(r"[-_.\s]+", without_quant(stem_of(projector)).lower())
    kept = [word.replace("mmproj", "") for word in words]
    return _letters("".join(word for word in kept if word not in _WORDS_FOR_ANY))


def _stem(name: str) -> str:
    base = posixpath.basename(name)
    return base[: -len(SUFFIX)] if base.lower().endswith(SUFFIX) else base


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))
