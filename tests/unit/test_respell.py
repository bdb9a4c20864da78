"""Declared names take the case that the store already uses."""

from __future__ import annotations

from paddock.core.desired import Desired, DesiredModel, FromModel, FromRegistry, Source, State
from paddock.core.names import Name
from paddock.core.respell import respell


def declared(text: str, source: Source) -> DesiredModel:
    return DesiredModel(Name.parse(text), State.PRESENT, source)


def desired(*models: DesiredModel) -> Desired:
    return Desired({model.name: model for model in models}, "generation", "models.yaml")


def test_names_bases_and_references_take_the_case_of_the_store() -> None:
    wish = desired(
        declared("SMOL:Q4_k_m", FromRegistry(Name.parse("team/SMOL:Q4_k_m"))),
        declared("terse", FromModel(Name.parse("SMOL:Q4_k_m"))),
    )
    found = respell(wish, [Name.parse("smol:Q4_K_M")])
    assert [name.display for name in found.models] == ["smol:Q4_K_M", "terse"]
    registry, derived = found.models.values()
    assert registry.source == FromRegistry(Name.parse("team/smol:Q4_K_M"))
    assert derived.source == FromModel(Name.parse("smol:Q4_K_M"))


def test_a_part_that_the_store_spells_in_two_cases_is_left_as_it_was_written() -> None:
    wish = desired(declared("aa:q4_k_m", FromModel(Name.parse("bb"))))
    found = respell(wish, [Name.parse("aa:q4_k_m"), Name.parse("bb:Q4_K_M")])
    assert list(found.models) == [Name.parse("aa:q4_k_m")]


def test_a_store_that_has_no_such_part_changes_nothing() -> None:
    wish = desired(declared("Mine:Big", FromModel(Name.parse("Other"))))
    assert respell(wish, [Name.parse("smol")]) == wish
