"""Places: from a path of keys to line and column in the file that holds them."""

from __future__ import annotations

from paddock.core.spec_problems import Loc, is_near
from paddock.edges.specfile.nodes import Node


def told(node: Node, loc: Loc, *, found: bool) -> bool:
    """Tells whether a missing key is there with a bad value, or misspelt."""
    return node.value is not None if found else is_near(loc[-1], node.keys)


def find(root: Node, loc: Loc) -> tuple[int, int]:
    """Returns line and column of the key that a path of keys leads to."""
    return locate(root, loc, at_key=True)[1]


def locate(root: Node, loc: Loc, *, at_key: bool) -> tuple[Node, tuple[int, int], bool]:
    """Returns the node and the place that a path of keys leads to, and whether it is all there."""
    node, place = root, (root.line, root.column)
    for part in loc:
        child = node.children.get(part)
        if child is None:
            return node, place, False
        key = node.keys.get(str(part), (child.line, child.column))
        place = key if at_key else (child.line, child.column)
        node = child
    return node, place, True


def colon(place: tuple[int, int]) -> str:
    """Returns a place as people write it: `LINE:COLUMN`."""
    return f"{place[0]}:{place[1]}"
