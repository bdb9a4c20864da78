"""Nodes: the YAML of one file as a tree of values that know their place.

Owns the way from the parser's events to values: duplicate keys, keys that are not text, tags, merge
keys and second documents are faults, and size, depth and alias expansion are bounded while the tree
grows. Builds from events and not by `yaml.compose`, which nests C calls as deep as the file does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn, TypeAlias

import yaml

from paddock.core.spec_problems import where
from paddock.edges.specfile.scalars import Scalar, ScalarError, read_plain, substitute
from paddock.edges.specfile.syntax import MAX_FAULTS, Fault, Unreadable, decode, explain

_ValueEvent: TypeAlias = yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent
_Reader: TypeAlias = Callable[[str, Mapping[str, str]], Scalar]
_VALUE_EVENTS = (yaml.ScalarEvent, yaml.SequenceStartEvent, yaml.MappingStartEvent)

# A time of day needs no quotes where one is expected: YAML 1.1 would read 08:30 in base 60.
_CLOCKS = (["from"], ["to"])
_CLOCK = re.compile(r"\d{1,2}:\d\d", re.ASCII)

MAX_DEPTH = 32
MAX_NODES = 200_000  # counted with aliases written out; a thousand models are about 15,000

_EMPTY_HINT = (
    "an empty file never removes anything: write version: 1 and models: {} to declare none"
)


@dataclass(slots=True)
class Node:
    """A value with its 1-based place. Mappings and lists have children; mappings also keys.

    `faulty` marks a value that a fault was reported for, so that it is not complained of twice.
    """

    line: int
    column: int
    value: object = None
    children: dict[str | int, Node] = field(default_factory=dict)
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    weight: int = 1
    height: int = 1
    faulty: bool = False


def read_nodes(data: bytes, env: Mapping[str, str]) -> tuple[Node | None, list[Fault]]:
    """Returns the tree of a file and its faults; no tree where it cannot be read to its end."""
    try:
        text = decode(data)
    except Unreadable as stop:
        return None, list(stop.faults)
    builder = _Builder(text, env)
    try:
        return builder.document(), builder.faults
    except Unreadable as stop:
        return None, [*builder.faults, *stop.faults]
    except yaml.YAMLError as error:
        return None, [*builder.faults, explain(error, text)]


class _Builder:
    """Grows the tree from events; remembers anchors, faults and the path of keys to here."""

    def __init__(self, text: str, env: Mapping[str, str]):
        self._events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=yaml.CSafeLoader))
        self._env = env
        self._path: list[str | int] = []
        self._anchors: dict[str, Node | None] = {}
        self.faults: list[Fault] = []

    def document(self) -> Node:
        next(self._events)
        if isinstance(next(self._events), yaml.StreamEndEvent):
            self._stop(1, 1, "the file is empty", _EMPTY_HINT)
        first = next(self._events)
        root = self._node(first, 1)
        next(self._events)
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            what = "a second document begins here"
            self._stop(*_place(after), what, "keep one, or use a folder of files")
        if root.value is None and not self.faults:
            self._stop(root.line, root.column, "the file is empty", _EMPTY_HINT)
        return root

    def _node(self, event: yaml.Event, depth: int) -> Node:
        if depth > MAX_DEPTH:
            self._stop(*_place(event), f"nested more than {MAX_DEPTH} deep", "make it flatter")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        assert isinstance(event, _VALUE_EVENTS)  # libyaml gives one wherever one is due
        anchor = event.anchor
        if anchor:
            self._anchors[anchor] = None
        node = self._fresh(event, depth)
        if event.tag:
            self._fault(*_place(event), "tags such as !!str are not used here", "remove the tag")
            node.faulty = True
        if anchor:
            self._anchors[anchor] = node
        return node

    def _fresh(self, event: _ValueEvent, depth: int) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(event, depth)
        return self._mapping(event, depth)

    def _scalar(self, event: yaml.ScalarEvent) -> Node:
        line, column = _place(event)
        before = len(self.faults)
        value = self._value(event)
        return Node(line, column, value, faulty=len(self.faults) > before)

    def _value(self, event: yaml.ScalarEvent) -> object:
        if not event.style and self._path[-1:] in _CLOCKS and _CLOCK.fullmatch(event.value):
            return event.value
        return self._read(event, substitute if event.style else read_plain)

    def _read(self, event: yaml.ScalarEvent, reader: _Reader) -> object:
        if "\0" in event.value:
            self._fault(*_place(event), "a NUL character", "remove it")
            return event.value
        try:
            return reader(event.value, self._env)
        except ScalarError as error:
            self._fault(*_place(event), error.what, error.hint)
            return event.value

    def _list(self, event: yaml.Event, depth: int) -> Node:
        line, column = _place(event)
        values: list[object] = []
        node = Node(line, column, values)
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            self._path.append(len(values))
            child = self._node(event, depth + 1)
            self._path.pop()
            node.children[len(values)] = child
            values.append(child.value)
            self._weigh(node, child)
        return node

    def _mapping(self, event: yaml.Event, depth: int) -> Node:
        line, column = _place(event)
        values: dict[str, object] = {}
        node = Node(line, column, values)
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, depth)
            self._path.append(key if key is not None else "?")
            child = self._node(next(self._events), depth + 1)
            if key is None:
                node.faulty = True
            elif self._is_new(key, node, event):
                node.keys[key] = _place(event)
                node.children[key] = child
                values[key] = child.value
            self._path.pop()
            self._weigh(node, child)
        return node

    def _key(self, event: yaml.Event, depth: int) -> str | None:
        """Returns the text of a key, or None after a fault."""
        if not isinstance(event, yaml.ScalarEvent):
            self._fault(*_place(event), "a key that is not plain text", "write it as text")
            self._node(event, depth + 1)
            return None
        if not event.style and event.value == "<<":
            hint = "write the keys out, or put what all models share under defaults"
            self._fault(*_place(event), "merge keys are not used here", hint)
            return None
        refers = "${env:" in event.value  # a key is text, whatever the variable holds
        key = self._read(event, substitute) if refers else self._value(event)
        if isinstance(key, str):
            return key
        what = f"the key {event.value or 'here'} is not text"
        self._fault(*_place(event), what, "put it in quotes" if event.value else "write a key")
        return None

    def _is_new(self, key: str, node: Node, event: yaml.Event) -> bool:
        first = node.keys.get(key)
        if first is None:
            return True
        what = f"the key is given twice, first at {first[0]}:{first[1]}"
        self._fault(*_place(event), what, "keep one")
        return False

    def _alias(self, event: yaml.AliasEvent, depth: int) -> Node:
        anchor = event.anchor
        if anchor not in self._anchors:
            self._stop(*_place(event), f"*{anchor} has no anchor above it", f"add &{anchor}")
        target = self._anchors[anchor]
        if target is None:
            self._stop(*_place(event), f"*{anchor} holds itself", "write the value out")
        if depth + target.height > MAX_DEPTH:
            self._stop(*_place(event), f"nested more than {MAX_DEPTH} deep", "make it flatter")
        return target

    def _weigh(self, node: Node, child: Node) -> None:
        """Bounds the tree as if every alias were written out: the "billion laughs" stop here."""
        node.weight += child.weight
        node.height = max(node.height, child.height + 1)
        if node.weight > MAX_NODES:
            what = f"more than {MAX_NODES:,} values, with aliases written out"
            self._stop(node.line, node.column, what, "make the file smaller")

    def _fault(self, line: int, column: int, what: str, hint: str) -> None:
        self.faults.append(Fault(line, column, where(tuple(self._path)), what, hint))
        if len(self.faults) >= MAX_FAULTS:
            self._stop(line, column, "too many errors", "correct those above first")

    def _stop(self, line: int, column: int, what: str, hint: str) -> NoReturn:
        raise Unreadable(Fault(line, column, where(tuple(self._path)), what, hint))


def _place(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    assert mark is not None
    return mark.line + 1, mark.column + 1
