"""Properties of discovering: names that are valid, each its own, and stay with their files."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from discovering import FOLDER, discover, discovered, entry, look, scan
from paddock.core.desired import FromFile
from paddock.core.discover import Discovered
from paddock.core.discover_globs import matches
from paddock.core.discover_names import MAX_CHARS
from paddock.core.layouts import Layout
from paddock.core.names import Name

# Few letters, so that files collide; and what no name may hold.
parts = st.one_of(
    st.text("aAbB-._", min_size=1, max_size=3),
    st.text(string.printable + "äß日İ", min_size=1, max_size=90),
    st.sampled_from(["cloud", "x-cloud", "local", "LOCAL", "x" * 200, "models--p--r", "mmproj"]),
).map(lambda part: part.replace("/", "_").replace("\0", "_"))
paths = st.lists(parts, min_size=1, max_size=4).map(lambda found: "/".join(found) + ".gguf")
folders = st.lists(paths, unique=True, max_size=12)
layouts: st.SearchStrategy[Layout] = st.sampled_from(
    ["directory", "lmstudio", "huggingface", "llamacpp", "transformerlab"]
)
templates = st.sampled_from(
    ["", "{stem}", "{publisher}/{stem}", "{dir}/{stem}:{quant}", "x:{stem}", "{repo}/{dir}-{quant}"]
)
names = st.dictionaries(paths, st.sampled_from(["a", "b", "aa", "x/a", "a:b"]), max_size=4)


def names_by_path(found: Discovered) -> dict[str, Name]:
    sources = {name: model.source for name, model in found.desired.models.items()}
    return {s.model.path: name for name, s in sources.items() if isinstance(s, FromFile)}


@given(layouts, templates, folders, names)
def test_every_name_is_valid_and_there_once_in_any_case(
    layout: Layout, template: str, files: list[str], known: dict[str, str]
) -> None:
    found = discovered(look(scan(*files), discover(layout, template)), names=known)
    for name in found.desired.models:
        assert Name.parse(name.display) == Name.parse(name.full) == name
        assert all(len(part) <= MAX_CHARS for part in name.parts)
    assert len({name.folded for name in found.desired.models}) == len(found.desired.models)
    assert len(names_by_path(found)) == len(found.desired.models)


@given(layouts, templates, folders)
def test_a_new_name_is_in_lower_case(layout: Layout, template: str, files: list[str]) -> None:
    found = discovered(look(scan(*files), discover(layout, template)))
    assert all(name == name.folded for name in found.desired.models)


@given(layouts, templates, folders, st.randoms())
def test_the_order_of_files_means_nothing(
    layout: Layout, template: str, files: list[str], random: object
) -> None:
    shuffled = list(files)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = (
        discovered(look(scan(*order), discover(layout, template))) for order in (files, shuffled)
    )
    assert first == second


@given(templates, folders, folders)
def test_names_stay_whatever_comes_and_goes(
    template: str, files: list[str], others: list[str]
) -> None:
    first = discovered(look(scan(*files), discover("directory", template)))
    given_names = {key: name.full for (_, key), name in first.desired.found.names.items()}
    later = discovered(look(scan(*others), discover("directory", template)), names=given_names)
    then, now = names_by_path(first), names_by_path(later)
    assert {path: now[path] for path in then} == then
    assert {key for _, key in later.desired.found.names} <= set(others) - set(files)


@given(folders, names)
def test_a_second_look_finds_nothing_new(files: list[str], known: dict[str, str]) -> None:
    first = discovered(look(scan(*files)), names=known)
    all_names = known | {key: name.full for (_, key), name in first.desired.found.names.items()}
    second = discovered(look(scan(*files)), names=all_names)
    assert names_by_path(second) == names_by_path(first)
    assert second.desired.found.names == {}


@given(folders)
def test_a_folder_is_never_left_by_a_source(files: list[str]) -> None:
    for path in names_by_path(discovered(look(scan(*map(entry, files))))):
        assert path.startswith(f"{FOLDER}/")


@given(paths, st.lists(st.text("ab*?[]!-./\\^&|~", min_size=1, max_size=8), max_size=3))
def test_any_glob_is_understood(path: str, patterns: list[str]) -> None:
    assert matches(path, patterns) in {True, False}
    assert matches(path, [*patterns, "**"])
