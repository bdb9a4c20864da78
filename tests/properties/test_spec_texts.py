"""Whatever models.yaml holds: it loads, or every problem has a place in it; nothing else is raised.

And what Paddock reads without complaint is what another YAML reader reads.
"""

from __future__ import annotations

import math

import yaml
from hypothesis import given
from hypothesis import strategies as st

from paddock.core.spec_check import cross_check, read_spec
from paddock.edges.specfile.nodes import read_nodes
from paddock.edges.specfile.scalars import ScalarError, read_plain

PIECES = st.sampled_from(
    [
        *["\n", "\n  ", "\n    ", "\n- ", ": ", ":", ", ", "{", "}", "[", "]", "#", "? ", "- "],
        *["&a ", "*a", "<<", "!!str ", "|\n  ", ">-\n ", "'", '"', "\t", "\\", "---\n", "...\n"],
        *["version: 1\n", "models:", "source", "gguf", "model", "a", "b", "null", "~", "true"],
        *["no", "5", "014", "1.5", "1e3", "12:30", "2024-01-31", "${env:A}", "${env:B:-x}", "é"],
        *["keep_alive", "parameters", "state: absent", "preload", "defaults", "{gguf: x}"],
    ]
)
TEXTS = st.lists(PIECES, max_size=30).map("".join)
WORDS = st.text(st.sampled_from("0123456789abexonyfstINF.+-:_Tt ~="), min_size=1, max_size=8)


@given(st.one_of(TEXTS.map(str.encode), st.binary(max_size=60)))
def test_any_bytes_load_or_bring_faults_with_a_place_in_them(data: bytes) -> None:
    root, faults = read_nodes(data, {"A": "x"})
    lines = data.count(b"\n") + data.count(b"\r") + 1
    assert root is not None or faults
    for fault in faults:
        assert 1 <= fault.line <= lines
        assert fault.column >= 1
        assert "\n" not in fault.what + fault.hint + fault.where


@given(TEXTS)
def test_any_tree_is_read_and_checked_to_its_end(text: str) -> None:
    root, _ = read_nodes(text.encode(), {"A": "x"})
    if root is not None:
        checked = read_spec(root.value)
        assert checked.spec.version == 1
        for problem in [*checked.problems, *cross_check(checked.spec)]:
            assert "\n" not in problem.what + problem.hint


@given(TEXTS.filter(lambda text: "${" not in text))
def test_a_file_without_faults_means_the_same_to_another_reader(text: str) -> None:
    root, faults = read_nodes(text.encode(), {})
    if root is not None and not faults:
        assert root.value == yaml.load(text, Loader=yaml.CSafeLoader)


@given(WORDS)
def test_a_plain_word_means_the_same_in_yaml_1_1_or_is_refused(word: str) -> None:
    try:
        events = list(yaml.parse(word, Loader=yaml.CSafeLoader))
    except yaml.YAMLError:
        return
    if len(events) != 5 or not isinstance(events[2], yaml.ScalarEvent):
        return
    text = events[2].value
    try:
        ours = read_plain(text, {})
    except ScalarError:
        return
    theirs = yaml.load(text, Loader=yaml.CSafeLoader)
    both_nan = isinstance(ours, float) and math.isnan(ours) and math.isnan(theirs)
    assert both_nan or (type(ours), ours) == (type(theirs), theirs)
