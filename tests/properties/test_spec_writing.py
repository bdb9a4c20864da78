"""Whatever Paddock writes as models.yaml loads back to the very same values, in any YAML reader."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from paddock.core.spec_text import Unwritable, models_text, spec_text
from paddock.edges.specfile import load_spec
from paddock.edges.specfile.nodes import read_nodes

PIECES = st.sampled_from(
    [
        *[
            "\n",
            "\n\n",
            " ",
            "  ",
            "\t",
            "\r",
            "\r\n",
            ": ",
            ":",
            ", ",
            "{",
            "}",
            "[",
            "]",
            "#",
            " #",
        ],
        *[
            "- ",
            "? ",
            "&a",
            "*a",
            "!t",
            "|",
            ">",
            "'",
            '"',
            "\\",
            "%",
            "@",
            "`",
            "---",
            "...",
            "<<",
        ],
        *[
            "yes",
            "No",
            "1e3",
            "12:30",
            "0o7",
            "~",
            "~/x",
            "null",
            "0x1F",
            "2024-01-31",
            ".inf",
            "=",
        ],
        *["${env:A}", "$${env:A}", "$", "{{ .Prompt }}", "{{ if .System }}", "<|im_end|>", "</s>"],
        *["a", "note", "7B", "10m", "./x.gguf", "llama3.2:3b", "é", "模", "👍", "\ufeff", "\x85"],
        *["\u2028", "\x07", "\x7f", "\x1b", "\uffff", "_", "1", "0", "-", "+", ".", "e", "x"],
    ]
)
CHARS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
TEXTS = st.one_of(st.lists(PIECES, max_size=8).map("".join), st.text(CHARS, max_size=12))
WORDS = st.text(st.sampled_from("0123456789abexonyfstINF.+-:_Tt ~="), min_size=1, max_size=8)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False),
    TEXTS,
    WORDS,
)
KEYS = st.one_of(TEXTS, WORDS, st.text(CHARS, min_size=1, max_size=3).map(lambda text: text * 900))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
PLAIN_KEYS = st.one_of(TEXTS, WORDS, st.sampled_from(["source", "template"]))
ANYTHING = st.dictionaries(
    PLAIN_KEYS, st.dictionaries(PLAIN_KEYS, VALUES, max_size=4), min_size=1, max_size=3
)

NAMES = st.one_of(
    WORDS.filter(lambda text: text.isalnum() and text.isascii()),
    st.sampled_from(["yes", "1e3", "0o7", "no:on", "12:30", "localhost:5000/a/b:c", "a/b", "_"]),
)
WORDED = TEXTS.filter(bool)
MODELS = st.fixed_dictionaries(
    {
        "source": st.sampled_from(
            [{"registry": "llama3.2:3b"}, {"model": "base/x"}, {"gguf": "/m/no"}]
        )
    },
    optional={
        "system": TEXTS,
        "template": TEXTS,
        "license": st.one_of(WORDED, st.lists(WORDED, min_size=1, max_size=3)),
        "messages": st.lists(
            st.fixed_dictionaries(
                {"role": st.sampled_from(["system", "user", "assistant"]), "content": TEXTS}
            ),
            max_size=3,
        ),
        "parameters": st.fixed_dictionaries(
            {},
            optional={
                "stop": st.lists(WORDED, min_size=1, max_size=3),
                "temperature": st.floats(0, 2),
                "num_ctx": st.integers(1, 2**40),
                "use_mmap": st.booleans(),
            },
        ),
        "keep_alive": st.sampled_from(["forever", "5m", "1h30m", 30, -1, 1.5]),
        "preload": st.booleans(),
        "labels": st.dictionaries(KEYS, st.none() | TEXTS, max_size=3),
    },
)


def read(text: str) -> Any:
    """What Paddock reads; what it finds wrong fails the test."""
    root, faults = read_nodes(text.encode(), {})
    assert faults == []
    assert root is not None
    return root.value


def lists(value: Any) -> Any:
    """A value with lists for tuples, as YAML has them."""
    match value:
        case Mapping():
            return {key: lists(item) for key, item in value.items()}
        case list() | tuple():
            return [lists(item) for item in value]
        case _:
            return value


@given(ANYTHING, st.sampled_from(["\n", "\r\n"]))
def test_plain_data_of_any_kind_is_read_back_whatever_ends_the_lines(
    models: Mapping[str, Mapping[str, Any]], newline: str
) -> None:
    text = spec_text(models).replace("\n", newline)
    assert read(text) == {"version": 1, "models": models}


@given(ANYTHING)
def test_another_reader_reads_the_same_but_for_references(
    models: Mapping[str, Mapping[str, Any]],
) -> None:
    text = spec_text(models)
    if "${env:" not in text:
        assert yaml.load(text, Loader=yaml.CSafeLoader) == {"version": 1, "models": models}
        assert yaml.safe_load(text) == {"version": 1, "models": models}


@given(ANYTHING, st.integers(1, 9), st.sampled_from(["", "\n", "\n\n\n", "# end\n", "x: |+\n\n\n"]))
def test_what_follows_and_how_deep_it_stands_change_no_value(
    models: Mapping[str, Mapping[str, Any]], indent: int, tail: str
) -> None:
    text = "models:\n" + models_text(models, indent=indent) + tail
    assert read(text)["models"] == models


@given(ANYTHING, TEXTS)
def test_a_comment_stays_a_comment(models: Mapping[str, Mapping[str, Any]], said: str) -> None:
    text = spec_text(models, comments=dict.fromkeys(models, said), head=said, tail=said)
    assert read(text) == {"version": 1, "models": models}


@given(st.dictionaries(NAMES, MODELS, min_size=1, max_size=3))
def test_models_load_to_the_values_that_were_written(models: Mapping[str, Any]) -> None:
    folded = {name.lower().removesuffix(":latest") for name in models}
    if len(folded) < len(models):
        return  # names that are one model to Ollama
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "models.yaml")
        path.write_text(spec_text(models), encoding="utf-8", newline="")
        loaded = load_spec(path, {}).spec.models
    assert set(loaded) == set(models)
    for name, model in models.items():
        dumped = lists(loaded[name].model_dump(exclude_unset=True))
        for key in ("system", "template", "messages", "preload", "labels", "parameters"):
            assert dumped.get(key) == model.get(key), key
        license_ = model.get("license")
        assert dumped.get("license") == ([license_] if isinstance(license_, str) else license_)


@pytest.mark.parametrize("text", ["\0", "a\0b", "a\nb\0", "\ud800", "x\udfff\ny"])
def test_what_no_file_can_hold_is_refused(text: str) -> None:
    with pytest.raises(Unwritable, match="cannot hold"):
        spec_text({"a": {"system": text}})
