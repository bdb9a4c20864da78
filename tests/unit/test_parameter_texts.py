"""Parameters written as text get the value that `ollama create` gives them.

The rows were tried against Ollama's own api.FormatParams (v0.34.4).
"""

from __future__ import annotations

import pytest

from paddock.core.parameter_texts import read_text


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("temperature", "0.7", 0.7),
        ("temperature", "1", 1.0),
        ("temperature", "+.5e1", 5.0),
        ("temperature", "5.", 5.0),
        ("temperature", "1_000.5", 1000.5),
        ("temperature", "0x1p-2", 0.25),
        ("temperature", "0.123456789", 0.12345679),
        ("temperature", "16777217", 16777216.0),
        ("temperature", "1e-50", 0.0),
        ("num_ctx", "+5", 5),
        ("num_ctx", "007", 7),
        ("num_ctx", "-1", -1),
        ("num_ctx", "-0", 0),
        ("main_gpu", "1", 1),
        ("use_mmap", "T", True),
        ("use_mmap", "0", False),
        ("use_mmap", "False", False),
        ("stop", "a ", ("a ",)),
        ("stop", "1", ("1",)),
    ],
)
def test_a_value_takes_its_options_type_as_go_reads_it(name: str, text: str, value: object) -> None:
    found = read_text(name, text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["1__0", "_1", "1_", "0x1", "1e", ".", "", "٣", "1 2", "nan"])
def test_what_go_takes_for_no_number_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is not a number$"):
        read_text("top_p", text)


@pytest.mark.parametrize("text", ["", "1_0", "0x10", "1.0", " 1", "1 # one", "٣", "9" * 5000])
def test_what_go_takes_for_no_whole_number_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is not a whole number$"):
        read_text("num_ctx", text)


@pytest.mark.parametrize("text", ["", "yes", "on", "tRUE", "2"])
def test_what_go_takes_for_no_truth_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is not true or false$"):
        read_text("use_mmap", text)


@pytest.mark.parametrize("text", ["1e39", "-1e39", "1e400", "0x1p128"])
def test_what_a_float32_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is not a number that Ollama can hold$"):
        read_text("top_p", text)
