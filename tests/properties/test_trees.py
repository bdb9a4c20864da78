"""What holds for publish trees, whatever the world, the file and others do.

`World.plan` holds each plan to the rules of `core/check_trees.py`, and `Forest` to what the engine
would refuse, so that every property here tests those too.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forests import Forest
from paddock.core.observed import Unknown
from paddock.core.plan import PublishLink, UnpublishLink
from paddock.core.tree_facts import FOLDER, Thing
from paddock.core.tree_wishes import is_below
from properties.strategies import PARTS, Models, models, worlds
from worlds import World, desire

usual = settings(
    max_examples=int(os.environ.get("PADDOCK_EXAMPLES", "250")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

TREES = ["/t", "/u", "/t/ollama"]
PATHS = [
    "/t/a.gguf",
    "/t/mine.gguf",
    "/t/ollama",
    "/t/ollama/a",
    "/t/ollama/a/a.gguf",
    "/t/a.gguf/index.json",
    "/t/a.gguf/a.gguf",
    "/u/a.gguf",
]
THINGS = [Thing("file"), Thing("link", "/elsewhere"), Thing("link", "/m/a.gguf"), FOLDER]

Publish = list[dict[str, Any]]
Meddle = Callable[[Forest, dict[str, Thing]], None]


def publishes() -> st.SearchStrategy[Publish]:
    """What a file may say of trees."""
    entry = st.fixed_dictionaries(
        {
            "path": st.sampled_from(TREES),
            "layout": st.sampled_from(["directory", "lmstudio", "transformerlab"]),
            "include": st.sampled_from([["*"], ["*"], ["a", "mine"], ["b*"]]),
        }
    )
    return st.lists(entry, max_size=3, unique_by=lambda entry: entry["path"])


def meddling() -> st.SearchStrategy[Meddle]:
    """What others do in a tree; what they made is noted."""

    paths = st.sampled_from(PATHS)
    return st.one_of(
        st.builds(_put, paths, st.sampled_from(THINGS)),
        st.builds(_taken, paths),
        st.builds(_made, st.sampled_from(TREES), st.integers(1, 2)),
    )


def _put(path: str, thing: Thing) -> Meddle:
    def put(forest: Forest, theirs: dict[str, Thing]) -> None:
        above = path.rpartition("/")[0]
        if above not in forest.devices and forest.things.get(above) != FOLDER:
            return  # there is no folder to put it into
        if path not in forest.devices and not _below(forest, path):
            forest.things[path] = theirs[path] = thing

    return put


def _taken(path: str) -> Meddle:
    def take(forest: Forest, theirs: dict[str, Thing]) -> None:
        for gone in (path, *_below(forest, path)):
            forest.things.pop(gone, None)
            theirs.pop(gone, None)

    return take


def _made(tree: str, device: int) -> Meddle:
    def make(forest: Forest, _: dict[str, Thing]) -> None:
        if tree not in forest.things:
            forest.devices[tree] = device

    return make


def _below(forest: Forest, path: str) -> list[str]:
    return [other for other in forest.things if other != path and is_below(other, path)]


steps = st.lists(
    st.tuples(publishes(), st.lists(meddling(), max_size=3), st.none() | st.integers(0, 6)),
    max_size=4,
)


@usual
@given(worlds(), models(), steps, publishes())
def test_what_others_have_in_a_tree_is_theirs_to_the_end(
    world: World,
    declared: Models,
    happened: list[tuple[Publish, list[Meddle], int | None]],
    publish: Publish,
) -> None:
    theirs: dict[str, Thing] = {}
    for said, meddles, first in happened:
        for meddle in meddles:
            meddle(world.forest, theirs)
        world.apply(world.plan(desire(declared, publish=said)), first)
    world.converge(desire(declared, publish=publish))
    world.converge(desire(declared))
    assert theirs.items() <= world.forest.things.items()


@usual
@given(worlds(), models(), steps, publishes())
def test_trees_come_to_rest_and_all_of_it_goes_again(
    world: World,
    declared: Models,
    happened: list[tuple[Publish, list[Meddle], int | None]],
    publish: Publish,
) -> None:
    for said, meddles, first in happened:
        for meddle in meddles:
            meddle(world.forest, {})
        world.apply(world.plan(desire(declared, publish=said)), first)
    for said in (publish, []):
        end = world.converge(desire(declared, publish=said))
        assert not [a for a in end.actions if isinstance(a, PublishLink | UnpublishLink)]
    claims = world.ledger.published
    roots = {path for path, claim in claims.items() if claim.thing.kind == "root"}
    assert not roots & world.forest.devices.keys()
    assert all(any(is_below(path, root) for root in roots) for path in claims)


@usual
@given(worlds(), models(), publishes(), st.sets(st.sampled_from([*PARTS, *TREES]), min_size=1))
def test_nothing_is_removed_on_half_a_look_and_nothing_is_touched_in_a_hidden_tree(
    world: World, declared: Models, publish: Publish, hidden: set[str]
) -> None:
    world.converge(desire(declared, publish=publish))
    world.unknown = {p: Unknown("StoreUnreadable", "cannot") for p in hidden & set(PARTS)}
    world.forest.away = hidden & set(TREES)
    before = copy.deepcopy(world.ledger.published)
    for said in (publish, [], [{"path": "/t", "layout": "lmstudio"}]):
        for action in world.plan(desire(declared, publish=said)).actions:
            if isinstance(action, PublishLink | UnpublishLink):
                assert action.tree not in hidden
            if isinstance(action, UnpublishLink):
                assert not world.unknown
    assert world.ledger.published == before
