"""Models are added to any valid models.yaml with every byte kept, or the file is refused."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from paddock.edges.specfile import load_spec
from paddock.edges.specfile.edit import EditRefused, append_models
from paddock.errors import SpecError

NEW: Mapping[str, Mapping[str, Any]] = {
    "new": {"source": {"registry": "new"}, "system": "a\n\n b\n"},
    "1e3": {"source": {"gguf": "/m/x.gguf"}},
}
LINES = st.sampled_from(
    ["", "  ", "# left", "  # deep", "    # deeper", "      # deepest", "#", "\t", "   # : {"]
)
COMMENTS = st.lists(LINES, max_size=3).map("\n".join).map(lambda text: f"{text}\n" if text else "")
VALUES = st.sampled_from(
    [
        *["x", '"x"', "'x'  # why", "|\n      x", "|+\n      x\n", ">-\n      x\n\n      y"],
        *["|2\n        x", "x\n      y", '"x\n      y"', "&t x", "", "|\n      # no comment"],
    ]
)
MODELS = st.lists(st.tuples(COMMENTS, VALUES, COMMENTS), min_size=1, max_size=3)
TAILS = st.sampled_from(["", "defaults: {}\n", "...\n", "defaults:\n  system: *t\n", "# end"])


def text_of(models: list[tuple[str, str, str]], tail: str) -> str:
    entries = [
        f"{before}  m{number}:\n    source: {{registry: r}}\n    system: {value}\n{after}"
        for number, (before, value, after) in enumerate(models)
    ]
    return f"version: 1\nmodels:\n{''.join(entries)}{tail}"


def is_within(before: bytes, after: bytes) -> bool:
    """Whether `after` is `before` with something put in at one place."""
    alike = zip(before, after, strict=False)
    start = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], alike))
    ends = (after.endswith(before[at:]) for at in range(start + 1))
    return len(after) > len(before) and any(ends)


@given(MODELS, TAILS, st.sampled_from(["\n", "\r\n"]), st.booleans(), st.booleans())
def test_models_are_put_in_and_all_else_stays(
    models: list[tuple[str, str, str]], tail: str, newline: str, cut: bool, mark: bool
) -> None:
    text = text_of(models, tail)
    text = (text.rstrip("\n") if cut else text).replace("\n", newline)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "models.yaml")
        path.write_bytes((b"\xef\xbb\xbf" if mark else b"") + text.encode())
        try:
            before = load_spec(path, {}).spec
        except SpecError:  # nothing to add to
            return
        content = path.read_bytes()
        try:
            append_models(path, NEW, {}).write()
        except EditRefused:
            assert path.read_bytes() == content
            return
        after = load_spec(path, {}).spec
        assert is_within(content, path.read_bytes())
    assert {name: after.models[name] for name in before.models} == before.models
    assert set(after.models) == {*before.models, *NEW}
    assert after.defaults == before.defaults
    assert after.models["new"].system == NEW["new"]["system"]


@given(MODELS)
def test_what_ends_in_a_plain_way_is_never_refused(models: list[tuple[str, str, str]]) -> None:
    text = text_of(models, "  last:\n    state: absent  # gone\n")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "models.yaml")
        path.write_text(text)
        try:
            load_spec(path, {})
        except SpecError:  # nothing to add to
            return
        append_models(path, NEW, {}).write()
        assert path.read_text().startswith(text)
