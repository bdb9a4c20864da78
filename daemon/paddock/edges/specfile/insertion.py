"""Insertion: where models are added to a file's text, by the marks of the parser's events.

Owns reading events for one thing only: which lines the root's `models:` takes up, and how deep its
entries stand. Knows nothing of what they say. Pure functions over the text of a valid file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import yaml

_Start: TypeAlias = yaml.MappingStartEvent | yaml.SequenceStartEvent
_BLOCK_STYLES = frozenset({"|", ">"})
_STARTS = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_ENDS = (yaml.MappingEndEvent, yaml.SequenceEndEvent)
_LEAVES = (yaml.ScalarEvent, yaml.AliasEvent)


@dataclass(frozen=True, slots=True)
class Block:
    """Entries as lines: `indent` deep, from the 0-based line `start` to the one before `end`.
    `text` is where the last value begins, if that is a literal or folded text."""

    indent: int
    start: int
    end: int
    text: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Braces:
    """A mapping in braces on one line: the 0-based line, and its first column and the one after."""

    line: int
    start: int
    end: int


def place_of_models(text: str) -> Block | Braces | None:
    """Where the root's `models:` is; None where that is not a mapping of its own lines or line."""
    finder = _Finder()
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        finder.take(event)
    return finder.found


@dataclass(slots=True)
class _Frame:
    """An open collection. `is_key` says that a mapping's next node is a key."""

    event: _Start
    is_key: bool


@dataclass(slots=True)
class _Finder:
    found: Block | Braces | None = None
    _stack: list[_Frame] = field(default_factory=list)
    _key: str = ""
    _within: _Start | None = None
    _first: tuple[int, int] | None = None
    _text: tuple[int, int] | None = None
    _end: int = 0

    def take(self, event: yaml.Event) -> None:
        """One event after the other."""
        if isinstance(event, _STARTS):
            self._begin(event)
        elif isinstance(event, _LEAVES):
            self._leaf(event)
        elif isinstance(event, _ENDS):
            self._finish(event)

    def _begin(self, event: _Start) -> None:
        root = self._stack[0].event if self._stack else None
        is_models = len(self._stack) == 1 and not self._stack[0].is_key and self._key == "models"
        if is_models and root is not None and not root.flow_style:
            self._within = event
        self._stack.append(_Frame(event, isinstance(event, yaml.MappingStartEvent)))

    def _leaf(self, event: yaml.ScalarEvent | yaml.AliasEvent) -> None:
        if len(self._stack) == 1 and self._stack[0].is_key and isinstance(event, yaml.ScalarEvent):
            self._key = event.value
        self._see(event)
        self._node_ended()

    def _see(self, event: yaml.Event) -> None:
        """Note the line below what is in `models:`; block mappings end where the next thing begins,
        so only leaves and what is in braces tell."""
        start, end = event.start_mark, event.end_mark
        if self._within is None or start is None or end is None:
            return
        self._first = self._first or (start.line, start.column)
        is_block = isinstance(event, yaml.ScalarEvent) and event.style in _BLOCK_STYLES
        if (start.line, start.column) != (end.line, end.column):
            self._end = max(self._end, end.line + (not is_block or end.column > 0))
            self._text = (start.line, start.column) if is_block else None

    def _finish(self, event: yaml.Event) -> None:
        begun = self._stack.pop().event
        if begun.flow_style:
            self._see(event)
        if begun is self._within:
            self.found = self._place(begun, event)
            self._within = None
        self._node_ended()

    def _place(self, begun: _Start, ended: yaml.Event) -> Block | Braces | None:
        first, last = begun.start_mark, ended.end_mark
        if not begun.flow_style:
            if self._first is None:
                return None
            line, column = self._first
            return Block(column, line, self._end, self._text)
        if first is None or last is None or first.line != last.line:
            return None
        return Braces(first.line, first.column, last.column)

    def _node_ended(self) -> None:
        if self._stack and isinstance(self._stack[-1].event, yaml.MappingStartEvent):
            self._stack[-1].is_key = not self._stack[-1].is_key
