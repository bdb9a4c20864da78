"""Where models lie in a publish tree: readable, safe on any file system, and never two in one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock.core.names import Name
from paddock.core.tree_facts import Layout, Tree
from paddock.core.tree_names import index_json, spots

PART = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}", fullmatch=True)
HOST = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}", fullmatch=True)
DOTTED = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", fullmatch=True)
NAMES = st.one_of(
    st.builds(Name, HOST, PART, DOTTED, DOTTED),
    st.builds(Name, st.just("registry.ollama.ai"), st.just("library"), DOTTED, DOTTED),
)


def files(layout: Layout, **models: bool) -> list[str]:
    places = spots(layout, {Name.parse(text): beside for text, beside in models.items()})
    return [places[name].model for name in sorted(places)]


def file(layout: Layout, text: str, *, projector: bool = False) -> str:
    return files(layout, **{text: projector})[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("smollm2", "smollm2.gguf"),
        ("smollm2:latest", "smollm2.gguf"),
        ("llama3.2:3b", "llama3.2-3b.gguf"),
        ("someone/theirs:8b", "someone_theirs-8b.gguf"),
        ("hf.co/org/repo:Q4_K_M", "hf.co_org_repo-Q4_K_M.gguf"),
        ("localhost:5000/a/b:c", "localhost-5000_a_b-c.gguf"),
    ],
)
def test_a_folder_of_files_has_one_for_each_model(text: str, expected: str) -> None:
    assert file(Layout.DIRECTORY, text) == expected


def test_a_model_with_a_projector_has_a_folder_of_its_own() -> None:
    name = Name.parse("llava:7b")
    spot = spots(Layout.DIRECTORY, {name: True})[name]
    assert spot.model == "llava-7b/llava-7b.gguf"
    assert spot.projector == "llava-7b/mmproj-llava-7b.gguf"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("llama3.2:3b", "ollama/llama3.2-3b/llama3.2-3b.gguf"),
        ("someone/theirs", "someone/theirs/theirs.gguf"),
        ("hf.co/org/repo:Q4", "org/repo-Q4/repo-Q4.gguf"),
    ],
)
def test_lm_studio_gets_a_publisher_and_a_folder_for_each_model(text: str, expected: str) -> None:
    assert file(Layout.LMSTUDIO, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("llama3.2:3b", "llama3.2-3b.gguf/llama3.2-3b.gguf"),
        ("_hidden", "hidden.gguf/hidden.gguf"),
        ("_", "model.gguf/model.gguf"),
    ],
)
def test_transformer_lab_gets_a_folder_of_the_name_of_its_file(text: str, expected: str) -> None:
    assert file(Layout.TRANSFORMERLAB, text) == expected


def test_transformer_lab_is_told_the_name_of_the_file() -> None:
    name = Name.parse("llama3.2:3b")
    spot = spots(Layout.TRANSFORMERLAB, {name: False})[name]
    told = json.loads(index_json(name, spot))
    assert spot.index == "llama3.2-3b.gguf/index.json"
    assert told["model_id"] == told["json_data"]["uniqueID"] == "llama3.2-3b.gguf"
    assert told["model_filename"] == told["json_data"]["model_filename"] == "llama3.2-3b.gguf"
    assert told["json_data"]["architecture"] == "GGUF"
    assert told["json_data"]["source"] != "huggingface"


def test_of_two_models_that_would_share_a_name_the_second_gets_a_piece_of_its_hash() -> None:
    found = files(Layout.DIRECTORY, **{"a:b": False, "a-b": False})
    assert found[0] == "a-b.gguf"
    assert found[1].startswith("a-b-")
    assert len(found[1]) == len("a-b-123456.gguf")


def test_a_name_that_was_told_apart_is_told_apart_the_same_way_by_any_order() -> None:
    one = files(Layout.DIRECTORY, **{"a:b": False, "a-b": False, "A-b": True})
    two = files(Layout.DIRECTORY, **{"A-b": True, "a-b": False, "a:b": False})
    assert one == two
    assert len({text.partition("/")[0].removesuffix(".gguf").lower() for text in one}) == 3


@given(st.sampled_from(Layout), st.dictionaries(NAMES, st.booleans(), max_size=6))
def test_every_path_is_safe_and_nobody_elses(layout: Layout, models: dict[Name, bool]) -> None:
    places = spots(layout, models)
    assert places.keys() == models.keys()
    paths = [path for spot in places.values() for path in (spot.model, spot.projector)]
    assert len({path.lower() for path in paths}) == len(paths)
    for path in paths:
        for part in path.split("/"):
            assert 0 < len(part.encode()) < 255 - len(".paddock-new")
            assert not part.startswith(".")
            assert all(char.isalnum() or char in "_.-" for char in part)


@pytest.mark.parametrize(
    ("include", "exclude", "wanted"),
    [
        (("*",), (), True),
        (("llama3*",), (), True),
        (("LLAMA3.2:3B",), (), True),
        (("qwen*",), (), False),
        (("*",), ("*:3b",), False),
        ((), (), False),
    ],
)
def test_models_are_chosen_by_name(
    include: tuple[str, ...], exclude: tuple[str, ...], wanted: bool
) -> None:
    tree = Tree("/t", include=include, exclude=exclude)
    assert tree.wants(Name.parse("llama3.2:3b")) is wanted


def test_latest_may_be_written_or_left_out() -> None:
    name = Name.parse("smollm2")
    assert Tree("/t", include=("smollm2",)).wants(name)
    assert Tree("/t", include=("smollm2:latest",)).wants(name)
