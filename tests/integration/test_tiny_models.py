"""The tiny models are real ones: Ollama loads each kind, and what it says depends on each file."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

import tiny_models as tiny
from paddock_cli import clean_environment
from real import RealOllama
from tiny_files import BLUE, RED, SPLIT, picture, write_all
from tiny_store import layers, put_model

PROMPT = "do re mi"
OPTIONS = {"num_predict": 12}
REFUSAL = "LoRA adapters are no longer supported"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one file of each kind."""
    return write_all(tmp_path_factory.mktemp("tiny"))


def _said(server: RealOllama, name: str) -> str:
    """What a model goes on with; the runner is gone afterwards, so that no other model uses it."""
    answer = server.generate(name, PROMPT, keep_alive=0, options=OPTIONS)
    assert answer["eval_count"] == OPTIONS["num_predict"], answer
    return str(answer["response"])


def _seen(server: RealOllama, name: str, *images: str) -> str:
    message = {"role": "user", "content": PROMPT, "images": list(images)}
    return str(server.chat(name, PROMPT, messages=[message], options=OPTIONS)["message"]["content"])


def _put(server: RealOllama, files: Path, name: str, *kinds: tuple[str, str]) -> None:
    put_model(server.models_dir, name, [(kind, files / f"{file}.gguf") for kind, file in kinds])


def test_the_same_call_gives_the_same_bytes_and_another_seed_gives_others() -> None:
    assert tiny.chat_model() == tiny.chat_model()
    assert tiny.projector() == tiny.projector()
    assert tiny.chat_model(seed=2) != tiny.chat_model(seed=1)


@pytest.mark.parametrize("kind", ["base", "chat", "quantised", "unnamed"])
def test_a_text_model_answers_and_always_the_same(
    module_ollama: RealOllama, files: Path, kind: str
) -> None:
    module_ollama.create_from_gguf(kind, files / f"{kind}.gguf")
    said = _said(module_ollama, kind)
    assert said == _said(module_ollama, kind)
    assert re.fullmatch(r"[ a-z]{12,}", said)


def test_ollama_finds_the_template_of_the_chat_model_only(
    module_ollama: RealOllama, files: Path
) -> None:
    for kind in ("base", "chat"):
        module_ollama.create_from_gguf(kind, files / f"{kind}.gguf")
    kinds = [[kind for kind, _ in layers(module_ollama.models_dir, m)] for m in ("base", "chat")]
    assert kinds == [["model"], ["model", "template", "params"]]


def test_ollama_has_no_name_for_the_type_of_the_unnamed_model(
    module_ollama: RealOllama, files: Path
) -> None:
    for kind in ("unnamed", "quantised", "base"):
        module_ollama.create_from_gguf(kind, files / f"{kind}.gguf")
    levels = {
        kind: module_ollama.show(kind)["details"]["quantization_level"]
        for kind in ("unnamed", "quantised", "base")
    }
    assert levels == {"unnamed": "unknown", "quantised": "Q8_0", "base": "F16"}


def test_the_embedding_model_gives_a_vector_for_each_text(
    module_ollama: RealOllama, files: Path
) -> None:
    module_ollama.create_from_gguf("embedding", files / "embedding.gguf")
    assert module_ollama.show("embedding")["capabilities"] == ["embedding"]
    vectors = _embed(module_ollama, ["do re", "fa so", "do re"])
    assert [len(vector) for vector in vectors] == [tiny.WIDTH] * 3
    assert vectors[0] == vectors[2] != vectors[1]


def _embed(server: RealOllama, texts: list[str]) -> list[list[float]]:
    answer = server.api("POST", "/api/embed", {"model": "embedding", "input": texts})
    assert answer.status == 200, answer
    found: list[list[float]] = answer.body["embeddings"]
    return found


def test_a_model_with_the_projector_sees_what_is_in_a_picture(
    module_ollama: RealOllama, files: Path
) -> None:
    more = [f"FROM {files / 'projector.gguf'}"]
    module_ollama.create_from_gguf("vision", files / "chat.gguf", more)
    assert module_ollama.show("vision")["capabilities"] == ["completion", "vision"]
    answers = {
        _seen(module_ollama, "vision"),
        _seen(module_ollama, "vision", picture(RED)),
        _seen(module_ollama, "vision", picture(BLUE)),
    }
    assert len(answers) == 3
    assert all(answers)


def test_create_refuses_an_adapter(module_ollama: RealOllama, files: Path) -> None:
    modelfile = module_ollama.folder / "Adapted"
    modelfile.write_text(f"FROM {files / 'base.gguf'}\nADAPTER {files / 'adapter.gguf'}\n")
    done = subprocess.run(
        [module_ollama.paths.ollama, "create", "refused", "-f", modelfile],
        env=clean_environment(OLLAMA_HOST=module_ollama.host, HOME=str(module_ollama.home)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert REFUSAL in done.stderr


def test_an_adapter_in_a_manifest_changes_what_the_model_says(
    ollama: RealOllama, files: Path
) -> None:
    """And one whose second matrix is zero changes nothing."""
    base = ("model", "base")
    _put(ollama, files, "plain", base)
    _put(ollama, files, "adapted", base, ("adapter", "adapter"))
    _put(ollama, files, "idle", base, ("adapter", "idle-adapter"))
    plain, adapted, idle = (_said(ollama, name) for name in ("plain", "adapted", "idle"))
    assert idle == plain
    assert adapted != plain


def test_a_draft_is_used_and_changes_nothing(ollama: RealOllama, files: Path) -> None:
    _put(ollama, files, "plain", ("model", "base"))
    ollama.create_from_gguf("drafted", files / "base.gguf", [f"DRAFT {files}/draft.gguf"])
    kinds = [kind for kind, _ in layers(ollama.models_dir, "drafted")]
    assert kinds == ["model", "draft"]
    plain = _said(ollama, "plain")
    begin = len(ollama.log_text())
    assert _said(ollama, "drafted") == plain
    drafted = ollama.logged(r"\d+ accepted / +(\d+) generated", begin)
    assert int(drafted[1]) > 0


@pytest.mark.parametrize("maker", ["create", "links"])
def test_a_split_model_says_what_the_whole_one_says(
    ollama: RealOllama, files: Path, maker: str
) -> None:
    parts = [files / name for name in SPLIT]
    if maker == "create":
        ollama.create_from_gguf("split", parts[0], [f"FROM {parts[1]}"])
    else:
        put_model(ollama.models_dir, "split", [("model", part) for part in parts])
    _put(ollama, files, "whole", ("model", "chat"))
    assert _raw(ollama, "split") == _raw(ollama, "whole")


def _raw(server: RealOllama, name: str) -> Any:
    return server.generate(name, PROMPT, raw=True, keep_alive=0, options=OPTIONS)["response"]
