"""Where a model is declared: the file and line of its name in models.yaml.

Reads the files of the spec anew and changes nothing. What cannot be read has no place.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from paddock.core.names import Name
from paddock.edges.specfile.files import MAX_SPEC_BYTES, FileProblem, read_regular, spec_files
from paddock.edges.specfile.nodes import Node, read_nodes
from paddock.errors import InvalidName


def declared_at(path: Path, env: Mapping[str, str], name: Name) -> str | None:
    """The place at which a model is declared, as `FILE:LINE`; None where nothing names it."""
    try:
        for file in spec_files(path):
            root, _ = read_nodes(read_regular(file, MAX_SPEC_BYTES), env)
            line = None if root is None else _line(root, name)
            if line is not None:
                return f"{file}:{line}"
    except FileProblem:
        return None
    return None


def _line(root: Node, name: Name) -> int | None:
    models = root.children.get("models")
    for text, (line, _) in ({} if models is None else models.keys).items():
        with contextlib.suppress(InvalidName):
            if Name.parse(str(text)).folded == name.folded:
                return line
    return None
