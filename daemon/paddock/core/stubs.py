"""The stubs by which Ollama is asked about a model of several files.

Pure. Ollama takes the files in the order of their names, tells the parts of a split GGUF by theirs,
and the template from the first that has one (ollama:server/create.go): so the model's own comes
first. Adapters are left out: v0.34 refuses to make a model with one, and still runs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from paddock.core.files import PARTS, UsableFile
from paddock.core.gguf import Facts
from paddock.core.plan import Stub


def stubs_of(files: Sequence[UsableFile]) -> tuple[Stub, ...]:
    """The stubs of these files, named as Ollama shall know them."""
    return tuple(_stubs(files))


def part_stubs(parts: Sequence[Facts]) -> tuple[Stub, ...]:
    """The stubs of a model's own GGUF: of all parts, where it is split."""
    if len(parts) == 1:
        return (Stub("model.gguf", parts[0].stub),)
    count = len(parts)
    names = [f"model-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1)]
    return tuple(Stub(name, part.stub) for name, part in zip(names, parts, strict=True))


def _stubs(files: Sequence[UsableFile]) -> Iterator[Stub]:
    yield from part_stubs([file.facts for file in files if file.role in PARTS])
    for file in files:
        if file.role == "projector":
            yield Stub("projector.gguf", file.facts.stub)
        elif file.role == "draft":
            yield Stub("draft.gguf", file.facts.stub, is_draft=True)
