"""Every input that the fuzzer kept, and the costliest ones that it cannot reach, within the bounds.

`make fuzz` looks for more; `tests/fuzz/fuzz_gguf.py` says how they are kept.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from fuzz.gguf_bounds import bounded_memory, read, survive
from fuzz.gguf_seeds import seeds
from gguf_files import ARRAY, FLOAT64, STRING, Array, gguf_bytes
from paddock.core.gguf import ArrayInfo, Facts, ValueType, facts
from paddock.core.gguf_stub import MAX_LEFT_OUT
from paddock.errors import InvalidGguf

CORPUS = Path(__file__).resolve().parents[1] / "fuzz" / "corpus" / "gguf"
MOST_FILES = 200
MOST_CORPUS_BYTES = 500_000
KEPT = sorted(CORPUS.iterdir())

_EMOJI = "\N{GRINNING FACE}"
# Each in a few megabytes of header what takes many times as much in memory, if nobody counts.
_GREEDY: dict[str, dict[str, Any]] = {
    "keys": {f"key {n}": n << 31 for n in range(12_000)},
    "numbers": {f"key {n}": Array(FLOAT64, [n + 0.5] * 64) for n in range(1_500)},
    "short texts": {f"key {n}": Array(STRING, [f"{n:04}"] * 64) for n in range(900)},
    "wide texts": {f"key {n}": _EMOJI + "a" * 60_000 for n in range(60)},
    "wide keys": {f"{n}{_EMOJI}" + "a" * 60_000: 1 for n in range(60)},
    "bytes that are no text": {f"key {n}": b"\xff" * 60_000 for n in range(60)},
}


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name[:16])
def test_an_input_that_the_fuzzer_kept_is_read_or_refused_within_the_bounds(path: Path) -> None:
    with bounded_memory():
        survive(path.read_bytes())


@pytest.mark.parametrize("name", seeds())
def test_a_seed_of_the_fuzzer_is_read_or_refused_within_the_bounds(name: str) -> None:
    with bounded_memory():
        survive(seeds()[name])


def test_the_kept_corpus_has_every_seed_and_stays_small() -> None:
    assert {path.name for path in KEPT} >= seeds().keys()
    assert len(KEPT) < MOST_FILES
    assert sum(path.stat().st_size for path in KEPT) < MOST_CORPUS_BYTES


@pytest.mark.parametrize("name", _GREEDY)
def test_metadata_that_would_fill_the_memory_is_refused(name: str) -> None:
    count = len(_GREEDY[name])
    data = gguf_bytes(_GREEDY[name], [])
    with bounded_memory(), pytest.raises(InvalidGguf, match="bytes of keys and values"):
        read(data, len(data))
    few = gguf_bytes(dict(list(_GREEDY[name].items())[: count // 5]), [])
    with bounded_memory():
        survive(few)


def test_the_stub_has_what_ollama_asks_for_even_behind_much_that_is_large() -> None:
    large = {f"general.note.{n}": "x" * 60_000 for n in range(10)}
    asked = {"general.architecture": "llama", "tokenizer.chat_template": "{{ .Prompt }}" * 4_500}
    data = gguf_bytes(large | asked)
    found = facts(read(data, len(data)))
    assert asked.items() <= read(found.stub, len(found.stub)).kv.items()
    assert 0 < len(found.left_out) < len(large)


def test_few_of_the_keys_that_a_stub_lacks_are_named_and_none_at_length() -> None:
    data = gguf_bytes({f"{n}" + "x" * 3_000: "y" * 3_000 for n in range(300)}, [])
    left_out = facts(read(data, len(data))).left_out
    assert len(left_out) == MAX_LEFT_OUT
    assert max(map(len, left_out)) == 200


def test_an_architecture_as_long_as_a_book_is_refused() -> None:
    data = gguf_bytes({"general.architecture": "x" * 70_000}, [])
    header = read(data, len(data))
    with pytest.raises(InvalidGguf, match=r"general\.architecture has 70000 bytes"):
        facts(header)


def test_the_number_of_a_part_counts_for_nothing_in_a_file_that_is_whole() -> None:
    stubs = [gguf_bytes({"split.count": 1, "split.no": number}) for number in (0, 1)]
    assert len({facts(read(stub, len(stub))).stub for stub in stubs}) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("architecture", 5),
        ("byte_order", "middle"),
        ("parameter_count", True),
        ("model_type", None),
        ("split_no", 1.0),
        ("is_embedding", 1),
        ("left_out", [1]),
        ("left_out", 5),
        ("stub_digest", []),
        ("stub", 7),
    ],
)
def test_cached_facts_of_another_type_are_refused(field: str, value: object) -> None:
    known = json.loads(seeds()["facts"])
    assert Facts.from_json(json.dumps(known))
    with pytest.raises(InvalidGguf, match="read the file again"):
        Facts.from_json(json.dumps({**known, field: value}))


@pytest.mark.parametrize("text", ['{"stub":' + "[" * 200_000, "[" * 200_000, '{"a":' * 200_000])
def test_cached_facts_that_nest_deeply_are_refused(text: str) -> None:
    with pytest.raises(InvalidGguf, match="read the file again"):
        Facts.from_json(text)


def test_a_header_in_a_sparse_file_is_read_no_further_than_it_can_go() -> None:
    """A tokenizer of millions of empty words is a hole: few reads, and little memory."""
    count = 1 << 18
    key = struct.pack("<Q", 5) + b"words"
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key
    with bounded_memory():
        header = read(head + struct.pack("<IIQ", ARRAY, STRING, count), 1 << 40, hole=True)
    assert header.kv["words"] == ArrayInfo(ValueType.STRING, count, None)
