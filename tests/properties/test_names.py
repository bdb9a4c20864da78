"""Properties of names: round trips, folding, and no way out of the store."""

from __future__ import annotations

import os.path
import string

from hypothesis import given
from hypothesis import strategies as st

from paddock.core.names import CaseConflict, Name, Spelling
from paddock.errors import InvalidName

_FIRST = string.ascii_letters + string.digits + "_"


def _part(punctuation: str) -> st.SearchStrategy[str]:
    rest = st.text(alphabet=_FIRST + punctuation, max_size=12)
    return st.builds(str.__add__, st.sampled_from(_FIRST), rest)


hosts = st.one_of(st.just("registry.ollama.ai"), _part("_-.:"))
namespaces = st.one_of(st.just("library"), _part("_-"))
tags = st.one_of(st.just("latest"), _part("_-."))
names = st.builds(Name, hosts, namespaces, _part("_-."), tags)
pieces = st.sampled_from(
    ["a", "B", "..", ".", "/", ":", "://", "@", "-", "latest", "cloud", "\x00"]
)
anything = st.one_of(st.text(max_size=40), st.lists(pieces, max_size=12).map("".join))


@given(names)
def test_every_way_to_print_a_name_reads_back_as_a_name_that_ollama_takes_for_it(
    name: Name,
) -> None:
    assert Name.parse_api(name.full) == name
    assert Name.parse_api(name.short).folded == name.folded
    assert Name.parse_api(name.display).folded == name.folded


@given(names)
def test_folding_twice_is_folding_once_and_keeps_the_name_valid(name: Name) -> None:
    assert name.folded.folded == name.folded
    assert name.folded.full == name.full.lower()


@given(anything)
def test_whatever_parses_stays_below_the_folder_it_is_joined_to(text: str) -> None:
    try:
        name = Name.parse_api(text)
    except InvalidName:
        return
    assert os.path.normpath("/".join(("/m", *name.parts))) == "/".join(("/m", *name.parts))
    assert Name.parse_api(name.full) == name


@given(anything)
def test_what_a_file_may_say_a_client_may_ask_for(text: str) -> None:
    try:
        name = Name.parse(text)
    except InvalidName:
        return
    assert Name.parse_request(text) == name


@given(names, st.lists(names, max_size=6))
def test_a_respelt_name_is_the_same_but_for_case_and_adds_no_case(
    name: Name, present: list[Name]
) -> None:
    try:
        respelt = Spelling(present).respell(name)
    except CaseConflict:
        return
    assert respelt.folded == name.folded
    assert Spelling([*present, respelt]).respell(respelt) == respelt
