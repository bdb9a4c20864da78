"""A GGUF file as the rest of Paddock knows it: the facts that its header gives.

Owns Facts, which is what the digest cache keeps of a file so that it is read once, and the way in:
`read_header` for the parse, `facts` for what it means, `make_stub` for the probe. Values are named
and printed as Ollama does. Never opens a file.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from paddock.core.digest import Digest, digest_of
from paddock.core.gguf_cursor import ByteOrder, malformed
from paddock.core.gguf_header import (
    ArrayInfo,
    Header,
    LargeText,
    Value,
    printable,
    read_header,
)
from paddock.core.gguf_stub import is_projector, left_out, make_stub, split_key
from paddock.core.gguf_tables import FILE_TYPES, ValueType
from paddock.errors import InvalidGguf

__all__ = [
    "ArrayInfo",
    "ByteOrder",
    "Facts",
    "Header",
    "Kind",
    "LargeText",
    "Value",
    "ValueType",
    "facts",
    "human_number",
    "make_stub",
    "read_header",
]

Kind: TypeAlias = Literal["model", "adapter", "projector", "draft", "imatrix"]

# Architectures for which create sets renderer and parser (`ollama:server/create.go` createModel).
_RENDERED = frozenset({"gemma4", "laguna", "nemotron_h", "nemotron_h_moe", "nemotron_h_omni"})
# Architectures that only ever draft for another model (`ollama:llm/llama_server.go`).
_DRAFTS = frozenset({"dflash"})
_FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Facts:
    """What a GGUF's header says that Paddock needs; names and units as Ollama prints them.

    `left_out` names the keys that the stub lacks because they are too large.
    """

    kind: Kind
    byte_order: ByteOrder
    architecture: str
    parameter_count: int
    model_type: str
    file_type: str
    split_count: int | None
    split_no: int | None
    is_embedding: bool
    needs_renderer: bool
    has_chat_template: bool
    context_length: int | None
    embedding_length: int | None
    stub: bytes = field(repr=False)
    stub_digest: Digest
    left_out: tuple[str, ...]

    def to_json(self) -> str:
        """Returns the facts as JSON text, with the stub in base64."""
        fields = asdict(self) | {"stub": base64.b64encode(self.stub).decode("ascii")}
        return json.dumps({"format_version": _FORMAT_VERSION, **fields})

    @classmethod
    def from_json(cls, text: str) -> Facts:
        """Reads what `to_json` wrote; raises InvalidGguf for anything else: read the file anew."""
        try:
            fields: dict[str, Any] = json.loads(text)
            if fields.pop("format_version") != _FORMAT_VERSION or fields["kind"] not in _KINDS:
                raise ValueError("of another format")
            fields["stub"] = base64.b64decode(fields["stub"], validate=True)
            fields["left_out"] = tuple(fields["left_out"])
            found = cls(**fields)
            _check_types(found)
            if digest_of(found.stub) != found.stub_digest:
                raise ValueError("its stub is not what its digest says")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise InvalidGguf(f"unusable cached facts ({error}); read the file again") from error
        return found


_KINDS = get_args(Kind)
_TYPES = {
    "byte_order": (str,),
    "architecture": (str,),
    "parameter_count": (int,),
    "model_type": (str,),
    "file_type": (str,),
    "split_count": (int, type(None)),
    "split_no": (int, type(None)),
    "is_embedding": (bool,),
    "needs_renderer": (bool,),
    "has_chat_template": (bool,),
    "context_length": (int, type(None)),
    "embedding_length": (int, type(None)),
}


def _check_types(found: Facts) -> None:
    wrong = [name for name, types in _TYPES.items() if type(getattr(found, name)) not in types]
    if found.byte_order not in get_args(ByteOrder):
        wrong.append("byte_order")
    if not all(type(key) is str for key in found.left_out):
        wrong.append("left_out")
    if wrong:
        raise ValueError(f"{', '.join(wrong)} cannot be that")


def facts(header: Header) -> Facts:
    """Returns the facts of a file with this header. Raises InvalidGguf."""
    architecture = _architecture(header)
    stub = make_stub(header)
    return Facts(
        kind=_kind(header, architecture),
        byte_order=header.byte_order,
        architecture=architecture,
        parameter_count=header.parameter_count,
        model_type=human_number(header.parameter_count),
        file_type=_file_type(header),
        split_count=_natural(split_key(header, "split.count")),
        split_no=_natural(split_key(header, "split.no")),
        is_embedding=f"{architecture}.pooling_type" in header.kv,
        needs_renderer=architecture in _RENDERED,
        has_chat_template=bool(header.kv.get("tokenizer.chat_template")),
        context_length=_natural(header.kv.get(f"{architecture}.context_length")),
        embedding_length=_natural(header.kv.get(f"{architecture}.embedding_length")),
        stub=stub,
        stub_digest=digest_of(stub),
        left_out=left_out(header),
    )


def human_number(count: int) -> str:
    """Prints a count of parameters, as `ollama:format/format.go` HumanNumber."""
    if count >= 1_000_000_000:
        return f"{_decimals(count / 1_000_000_000, 1)}B"
    if count >= 1_000_000:
        return f"{_decimals(count / 1_000_000, 2)}M"
    return f"{count / 1000:.0f}K" if count >= 1000 else str(count)


def _decimals(number: float, digits: int) -> str:
    return f"{number:.0f}" if number.is_integer() else f"{number:.{digits}f}"


def _file_type(header: Header) -> str:
    number = _natural(header.kv.get("general.file_type"))
    return "unknown" if number is None else FILE_TYPES.get(number, "unknown")


def _architecture(header: Header) -> str:
    """Returns general.architecture, or `unknown` as `ollama:fs/gguf/metadata.go` does."""
    value = header.kv.get("general.architecture", "unknown")
    if isinstance(value, LargeText):
        malformed(f"general.architecture has {value.size_bytes} bytes")
    if not isinstance(value, str):
        return ""
    return printable(value)


def _kind(header: Header, architecture: str) -> Kind:
    declared = header.kv.get("general.type")
    if declared == "adapter":
        return "adapter"
    if declared == "imatrix":
        return "imatrix"
    if is_projector(header):
        return "projector"
    return "draft" if architecture in _DRAFTS else "model"


def _natural(value: Value | None) -> int | None:
    return value if type(value) is int and value >= 0 else None
