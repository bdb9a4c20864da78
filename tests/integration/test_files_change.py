"""A model of several files: a change of any of them takes effect, and nothing of the old stays."""

from __future__ import annotations

from pathlib import Path

import tiny_models as tiny
from paddock_cli import User
from real import StartOllama
from tiny_files import SPLIT, write_all

SOURCES = {
    "vision": "gguf: ./chat.gguf, projector: ./projector.gguf",
    "adapted": "gguf: ./quantised.gguf, adapters: [./adapter.gguf]",
    "drafted": "gguf: ./base.gguf, draft: ./draft.gguf",
    "split": f"gguf: ./{SPLIT[0]}",
}


def _replace(path: Path, content: bytes) -> None:
    new = path.with_name("new")
    new.write_bytes(content)
    new.replace(path)


def test_a_change_of_any_file_loads_the_model_anew_and_it_can_be_removed(
    start_ollama: StartOllama, tmp_path: Path
) -> None:
    """Ollama itself goes on with the old draft, and reaches the runner of a split model through
    nothing but a manifest with all its old parts."""
    server = start_ollama(OLLAMA_MAX_LOADED_MODELS="9")
    user = User(write_all(tmp_path / "user"), server)
    lines = (
        f"  {name}: {{source: {{{source}}}, preload: true}}\n" for name, source in SOURCES.items()
    )
    user.declare("".join(lines))
    user.apply()
    before = {name: model["digest"] for name, model in server.ps().items()}
    assert before == {name: model["digest"] for name, model in server.tags().items()}
    _replace(user.folder / "projector.gguf", tiny.projector(seed=2))
    _replace(user.folder / "adapter.gguf", tiny.adapter(seed=2))
    _replace(user.folder / "draft.gguf", tiny.draft(seed=2))
    _replace(user.folder / SPLIT[1], tiny.split_model(seed=2)[SPLIT[1]])
    user.apply()
    after = {name: model["digest"] for name, model in server.ps().items()}
    assert after == {name: model["digest"] for name, model in server.tags().items()}
    assert not before.items() & after.items()
    user.declare("".join(f"  {name}: {{state: absent}}\n" for name in SOURCES))
    user.apply("--timeout", "20s")
    assert server.ps() == server.tags() == {}
