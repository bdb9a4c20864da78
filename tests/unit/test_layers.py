"""The layers of the architecture, read from the source: who may import whom, who may do what.

A layer imports from those below it only, and one edge knows no other. `core` has no I/O, no clock
and no chance: it imports pydantic and the pure part of the standard library. Only `cli/views.py`
prints. No file is longer than 300 lines.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "daemon" / "paddock"
MAX_LINES = 300

# `settings` is for those who put things together; `logs` is for all that do something.
ACTING = {"errors", "core", "logs"}
TOGETHER = ACTING | {"edges", "engine", "endpoint", "settings"}
ALLOWED = {
    "__init__": set[str](),
    "errors": set[str](),
    "core": {"errors"},
    "logs": {"errors"},
    "settings": {"errors", "core"},
    "edges": ACTING,
    "engine": ACTING | {"edges"},
    "endpoint": ACTING | {"edges"},
    "host": TOGETHER,
    "service": TOGETHER | {"host"},
    "cli": TOGETHER | {"service"},
    "__main__": {"cli"},
}
PURE_LIBRARIES = """
    __future__ abc array base64 binascii bisect collections contextlib copy dataclasses datetime
    decimal difflib enum fnmatch fractions functools hashlib heapq ipaddress itertools json math
    operator pathlib.PurePath pathlib.PurePosixPath posixpath pydantic pydantic_core re shlex string
    struct textwrap types typing unicodedata urllib.parse
"""
PURE = set(PURE_LIBRARIES.split())
IMPURE_CALLS = {"open", "input", "exec", "eval", "__import__", "breakpoint"}
CLOCKS = {"now", "utcnow", "today"}
STREAMS = {"sys.stdout", "sys.stderr"}


def layer_of(module: str) -> str:
    """The layer of a module named from the package on: `core` for `core.names`."""
    return module.partition(".")[0]


def edge_of(module: str) -> str:
    """The edge that a module belongs to: `store` for `edges.store` and `edges.store_links`."""
    return ".".join(module.split(".")[:2]).split("_")[0]


def imports_of(tree: ast.AST) -> Iterator[str]:
    """Every imported thing by its dotted name, wherever in the file it is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{a.name}" for a in node.names)


def import_offence(module: str, imported: str) -> str | None:
    """Why `module` may not import that, if so."""
    if imported.startswith("."):
        return f"imports {imported} relatively"
    if not imported.startswith("paddock."):
        parts = imported.split(".")
        known = layer_of(module) != "core" or PURE & {parts[0], ".".join(parts[:2])}
        return None if known else f"core imports {imported}"
    target = imported.removeprefix("paddock.")
    mine, its = layer_of(module), layer_of(target)
    if its == "__version__" or (mine == its != "edges"):
        return None
    if mine == its:
        return None if edge_of(module) == edge_of(target) else f"an edge imports {imported}"
    return None if its in ALLOWED[mine] else f"{mine} imports {imported}"


def deed_offences(module: str, tree: ast.AST) -> Iterator[str]:
    """What a module does that it may not: print, or in core anything that is not pure."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="print")) if module != "cli.views":
                yield "prints"
            case ast.Attribute(
                value=ast.Attribute() as stream, attr="write" | "writelines" | "buffer"
            ):
                if ast.unparse(stream) in STREAMS and module != "cli.views":
                    yield f"writes to {ast.unparse(stream)}"
            case ast.Call(func=ast.Name(id=name)) if (
                name in IMPURE_CALLS and layer_of(module) == "core"
            ):
                yield f"core calls {name}"
            case ast.Attribute(attr=name) if name in CLOCKS and layer_of(module) == "core":
                yield f"core asks the clock: {ast.unparse(node)}"


def offences(module: str, source: str) -> list[str]:
    """All that is wrong with the text of one module."""
    tree = ast.parse(source)
    found = [import_offence(module, imported) for imported in imports_of(tree)]
    lines = source.count("\n")
    long = [f"has {lines} lines; two rooms are better"] if lines > MAX_LINES else []
    return [*filter(None, found), *deed_offences(module, tree), *long]


def module_of(path: Path) -> str:
    """`core.names` for core/names.py, `core` for core/__init__.py."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=module_of)
def test_every_module_keeps_to_its_layer(path: Path) -> None:
    assert offences(module_of(path), path.read_text()) == []


def test_every_module_of_the_package_has_a_layer() -> None:
    assert {layer_of(module_of(path)) for path in PACKAGE.rglob("*.py")} <= ALLOWED.keys()


@pytest.mark.parametrize(
    ("module", "line", "offence"),
    [
        ("core.names", "from paddock.edges.store import x", "core imports paddock.edges.store.x"),
        ("core.names", "def f():\n    import os", "core imports os"),
        ("core.names", "from pathlib import Path", "core imports pathlib.Path"),
        ("core.names", "import pathlib", "core imports pathlib"),
        ("core.names", "from urllib import request", "core imports urllib.request"),
        ("core.names", "import structlog", "core imports structlog"),
        ("core.names", "from paddock.logs import log", "core imports paddock.logs.log"),
        ("core.names", "open('x')", "core calls open"),
        ("core.names", "x = datetime.now(UTC)", "core asks the clock: datetime.now"),
        ("errors", "import paddock.core.names", "errors imports paddock.core.names"),
        ("edges.store", "from paddock.edges import ollama", "an edge imports paddock.edges.ollama"),
        ("edges.store", "from paddock.settings import S", "edges imports paddock.settings.S"),
        ("engine.loop", "from paddock import endpoint", "engine imports paddock.endpoint"),
        ("endpoint.relay", "import paddock.engine.loop", "endpoint imports paddock.engine.loop"),
        ("service", "from paddock.cli.views import x", "service imports paddock.cli.views.x"),
        ("cli.main", "from .views import x", "imports .views.x relatively"),
        ("cli.main", "print('x')", "prints"),
        ("logs", "sys.stderr.write('x')", "writes to sys.stderr"),
        ("service", "pass\n" * (MAX_LINES + 1), "has 301 lines; two rooms are better"),
    ],
)
def test_an_offending_module_is_found(module: str, line: str, offence: str) -> None:
    assert offences(module, line) == [offence]


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("core.names", "from pathlib import PurePosixPath\nfrom urllib.parse import urlsplit"),
        ("core.names", "from paddock.core.digest import Digest\nimport pydantic"),
        ("edges.store_links", "import os\nfrom paddock.edges.store import blob_path"),
        ("edges.specfile.load", "from paddock.edges.specfile.yaml import parse"),
        ("cli.main", "from paddock import __version__\nfrom paddock.service import Service"),
        ("cli.views", "print('x')"),
    ],
)
def test_a_module_that_keeps_the_rules_is_not_accused(module: str, line: str) -> None:
    assert offences(module, line) == []
