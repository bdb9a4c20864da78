"""Of each kind of model Paddock makes, by links, what `ollama create` makes by copies.

Two servers: on one the models are created, on the other they are applied, under the same names.
What a model is on disk, what Ollama shows of it and what it says must be equal.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from paddock_cli import Result, User, clean_environment
from provider import RealPaths
from real import RealOllama
from tiny_files import BLUE, RED, SPLIT, picture, write_all
from tiny_store import config, layers

OPTIONS = {"num_predict": 20}
FILE_KINDS = {"model", "projector", "adapter", "draft"}
BLOBS = ("FROM /", "ADAPTER /", "DRAFT /", "# FROM ")


class Kind(NamedTuple):
    """One kind of model: what models.yaml says, and the Modelfile that says the same."""

    source: str
    modelfile: str
    more: str = ""

    def declared(self, name: str) -> str:
        """Its lines in models.yaml."""
        return f"  {name}:\n    source: {{{self.source}}}\n{self.more}"


DRESSED = """\
    system: Be kind.
    template: "{{ .System }} {{ .Prompt }}"
    parameters: {temperature: 0.5, num_ctx: 256, stop: [ba, be]}
    messages: [{role: user, content: do}, {role: assistant, content: re}]
    license: "Free & <open>"
"""
DRESSES = """\
SYSTEM Be kind.
TEMPLATE "{{ .System }} {{ .Prompt }}"
PARAMETER temperature 0.5
PARAMETER num_ctx 256
PARAMETER stop ba
PARAMETER stop be
MESSAGE user do
MESSAGE assistant re
LICENSE "Free & <open>"
"""
DRAFTED = "FROM base.gguf\nDRAFT draft.gguf\n"
VISION = "FROM chat.gguf\nFROM projector.gguf\n"
SPLITTED = f"FROM {SPLIT[0]}\nFROM {SPLIT[1]}\n"
KINDS = {
    "smollm2": Kind("gguf: ./smol.gguf", "FROM smol.gguf\n"),
    "f16": Kind("gguf: ./chat.gguf", "FROM chat.gguf\n"),
    "base": Kind("gguf: ./base.gguf", "FROM base.gguf\n"),
    "quantised": Kind("gguf: ./quantised.gguf", "FROM quantised.gguf\n"),
    "unnamed": Kind("gguf: ./unnamed.gguf", "FROM unnamed.gguf\n"),
    "vision": Kind("gguf: ./chat.gguf, projector: ./projector.gguf", VISION),
    "draft": Kind("gguf: ./base.gguf, draft: ./draft.gguf", DRAFTED),
    "split": Kind(f"gguf: ./{SPLIT[0]}", SPLITTED),
    "dressed": Kind("gguf: ./chat.gguf", f"FROM chat.gguf\n{DRESSES}", DRESSED),
    "dressed-base": Kind("gguf: ./base.gguf", f"FROM base.gguf\n{DRESSES}", DRESSED),
    "dressed-vision": Kind(
        "gguf: ./chat.gguf, projector: ./projector.gguf", VISION + DRESSES, DRESSED
    ),
    "dressed-draft": Kind("gguf: ./base.gguf, draft: ./draft.gguf", DRAFTED + DRESSES, DRESSED),
    "dressed-split": Kind(f"gguf: ./{SPLIT[0]}", SPLITTED + DRESSES, DRESSED),
    "derived": Kind("model: f16", f"FROM f16\n{DRESSES}", DRESSED),
    "derived-vision": Kind("model: vision", f"FROM vision\n{DRESSES}", DRESSED),
    "derived-draft": Kind("model: draft", f"FROM draft\n{DRESSES}", DRESSED),
    "derived-split": Kind("model: split", f"FROM split\n{DRESSES}", DRESSED),
}
EMBEDDING = Kind("gguf: ./embedding.gguf", "FROM embedding.gguf\n")
MODELS = KINDS | {"embedding": EMBEDDING}
ADAPTED = Kind("gguf: ./base.gguf, adapters: [./adapter.gguf]", "FROM base.gguf\n")
DERIVED = Kind("model: adapted", "", DRESSED)
IDLE = Kind("gguf: ./base.gguf, adapters: [./idle-adapter.gguf]", "FROM base.gguf\n")


class Pair(NamedTuple):
    """The server where models were created, and the one where they were applied."""

    created: RealOllama
    applied: RealOllama
    user: User
    result: Result

    @property
    def servers(self) -> tuple[RealOllama, RealOllama]:
        """Both, the one where models were created first."""
        return self.created, self.applied


@pytest.fixture(scope="module")
def pair(real: RealPaths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both servers, each with every kind of model."""
    folder = tmp_path_factory.mktemp("parity")
    with (
        RealOllama(real, folder / "created") as created,
        RealOllama(real, folder / "applied") as applied,
    ):
        user = User(folder / "user", applied)
        write_all(user.folder)
        for name, kind in MODELS.items():
            modelfile = user.folder / f"{name}.Modelfile"
            modelfile.write_text(kind.modelfile)
            created.cli("create", name, "-f", modelfile)
        wanted = MODELS | {"adapted": ADAPTED, "idle": IDLE, "dressed-adapted": DERIVED}
        user.declare("".join(kind.declared(name) for name, kind in wanted.items()))
        yield Pair(created, applied, user, user.paddock("apply"))


def _shown(server: RealOllama, name: str) -> dict[str, Any]:
    """What `/api/show` says, but for the paths and times of this store, and the model's name.

    Ollama prints parameters in the order of a Go map: another one each time."""
    shown = server.show(name)
    shown["details"].pop("parent_model")  # the name of the file, or of the model, that it is from
    shown.pop("modified_at")
    lines = shown["modelfile"].splitlines()
    shown["modelfile"] = sorted(line for line in lines if not line.startswith(BLOBS))
    shown["parameters"] = sorted(shown.get("parameters", "").splitlines())
    return shown


def _of_models(found: list[tuple[str, str]]) -> list[str]:
    return [blob for kind, blob in found if kind == "model"]


def _listed(server: RealOllama, name: str) -> dict[str, Any]:
    tag = server.tags()[f"{name}:latest"]
    tag["details"].pop("parent_model")
    return {key: tag[key] for key in ("details", "capabilities")}


def _said(server: RealOllama, name: str, *images: str) -> dict[str, Any]:
    """The answer to one message, on one thread; its runner is gone afterwards."""
    message = {"role": "user", "content": "do re mi", "images": list(images)}
    answer = server.chat(name, "", messages=[message], keep_alive=0, options=OPTIONS)
    assert answer["message"]["content"], answer
    return {key: answer[key] for key in ("message", "eval_count", "prompt_eval_count")}


def test_every_model_is_ready_and_a_second_apply_does_nothing(pair: Pair) -> None:
    assert pair.result.code == 0, pair.result
    assert {state for state, _ in pair.user.statuses().values()} == {"True"}
    assert pair.user.apply().out.startswith("No changes.")


@pytest.mark.parametrize("name", MODELS)
def test_the_store_holds_the_same_layers_and_config_and_only_links(pair: Pair, name: str) -> None:
    created, applied = (layers(server.models_dir, name) for server in pair.servers)
    assert sorted(applied) == sorted(created)
    assert _of_models(applied) == _of_models(created)  # of which the order counts
    files = [blob for kind, blob in applied if kind in FILE_KINDS]
    assert all((pair.applied.models_dir / "blobs" / blob).is_symlink() for blob in files)
    assert config(pair.applied.models_dir, name) == config(pair.created.models_dir, name)


@pytest.mark.parametrize("name", MODELS)
def test_ollama_shows_the_same(pair: Pair, name: str) -> None:
    created, applied = (_shown(server, name) for server in pair.servers)
    assert applied == created
    created, applied = (_listed(server, name) for server in pair.servers)
    assert applied == created


@pytest.mark.parametrize("name", KINDS)
def test_the_model_says_the_same(pair: Pair, name: str) -> None:
    created, applied = (_said(server, name) for server in pair.servers)
    assert applied == created


@pytest.mark.parametrize("name", ["vision", "dressed-vision", "derived-vision"])
def test_the_model_says_the_same_of_a_picture(pair: Pair, name: str) -> None:
    answers = [
        [_said(server, name, picture(colour)) for colour in (RED, BLUE)] for server in pair.servers
    ]
    assert answers[0] == answers[1]
    assert answers[0][0] != answers[0][1]


def test_the_embedding_model_gives_the_same_vectors(pair: Pair) -> None:
    body = {"model": "embedding", "input": ["do re mi", "fa so"], "options": {"num_thread": 1}}
    created, applied = (server.api("POST", "/api/embed", body) for server in pair.servers)
    assert created.status == 200, created
    assert applied.body["embeddings"] == created.body["embeddings"]


@pytest.mark.parametrize(
    ("name", "base"), [("adapted", "base"), ("idle", "base"), ("dressed-adapted", "dressed-base")]
)
def test_a_model_with_an_adapter_is_its_base_and_the_adapter(
    pair: Pair, name: str, base: str
) -> None:
    """Create refuses to make one, and Ollama runs it all the same: parity is with the base."""
    found = layers(pair.applied.models_dir, name)
    assert [kind for kind, _ in found].count("adapter") == 1
    without = [layer for layer in found if layer[0] != "adapter"]
    assert sorted(without) == sorted(layers(pair.created.models_dir, base))
    assert config(pair.applied.models_dir, name) == config(pair.created.models_dir, base)
    assert _shown(pair.applied, name) == _shown(pair.created, base)
    assert _listed(pair.applied, name) == _listed(pair.created, base)


def test_an_adapter_changes_what_the_model_says_unless_it_is_zero(pair: Pair) -> None:
    base = _said(pair.created, "base")["message"]
    assert _said(pair.applied, "idle")["message"] == base
    assert _said(pair.applied, "adapted")["message"] != base
    assert "--lora" in pair.applied.log_text()


def test_create_refuses_what_paddock_makes_of_an_adapter(pair: Pair, tmp_path: Path) -> None:
    """When this fails, create takes adapters again: compare with it."""
    write_all(tmp_path)
    modelfile = tmp_path / "Modelfile"
    modelfile.write_text("FROM base.gguf\nADAPTER adapter.gguf\n")
    done = subprocess.run(
        [pair.created.paths.ollama, "create", "adapted", "-f", modelfile],
        env=clean_environment(OLLAMA_HOST=pair.created.host, HOME=str(pair.created.home)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "LoRA adapters are no longer supported" in done.stderr


def test_a_model_can_be_derived_from_a_split_one_that_create_made(user: User) -> None:
    write_all(user.folder)
    more = [f"FROM {user.folder / SPLIT[1]}"]
    user.server.create_from_gguf("split", user.folder / SPLIT[0], more)
    user.server.create_from_gguf("created", Path("split"), DRESSES.splitlines())
    user.declare(Kind("model: split", "", DRESSED).declared("applied"))
    user.apply()
    created, applied = (layers(user.server.models_dir, name) for name in ("created", "applied"))
    assert _of_models(applied) == _of_models(created)
    assert sorted(applied) == sorted(created)
    assert len(_of_models(applied)) == len(SPLIT)
