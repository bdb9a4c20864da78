"""What `paddock export` prints makes another host the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from paddock_cli import User
from real import RealOllama, StartOllama
from registry import LoopbackRegistry
from snapshots import store_snapshot
from tiny_models import base_model, chat_model

SHOWN = ("template", "system", "capabilities", "model_info", "license", "messages", "parameters")
LICENCES = [
    "First, with a blank line at its end.\n\n",
    'Second: "quoted", and a tab\t here.\nMore.',
]


@pytest.fixture
def tiny(start_ollama: StartOllama, tmp_path: Path) -> User:
    """A user beside a private server, whose GGUF is a tiny one."""
    user = User(tmp_path / "user", start_ollama())
    user.gguf.write_bytes(chat_model())
    return user


def shown(server: RealOllama, name: str) -> dict[str, Any]:
    """What Ollama shows of a model, but for when and where it was made."""
    document = server.show(name)
    told = {key: document.get(key) for key in SHOWN}
    # Ollama lists a map of parameters in any order.
    told["parameters"] = sorted(str(told["parameters"] or "").splitlines())
    details = {k: v for k, v in document["details"].items() if k != "parent_model"}
    return {**told, "details": details}


def exported(user: User, *arguments: str) -> dict[str, Any]:
    """The models of an export, read from the JSON, which says the same as the text."""
    result = user.paddock("export", "-o", "json", *arguments)
    assert result.code == 0, result
    text = user.paddock("export", *arguments)
    assert text.code == 0, text
    assert yaml.safe_load(text.out.replace("$${env:", "${env:")) == result.json["spec"]
    models: dict[str, Any] = result.json["spec"]["models"]
    return models


def furnish(user: User, registry: LoopbackRegistry) -> str:
    """Fills a host as the years do; gives the name of what was pulled."""
    author = user.server
    (user.folder / "base.gguf").write_bytes(base_model(7))
    author.create_from_gguf(
        "seed", user.folder / "base.gguf", ["SYSTEM Pulled.", "PARAMETER top_k 7"]
    )
    registry.push(author, "seed", "seed:v1")
    author.cli("rm", "seed")
    pulled = registry.reference("seed:v1")
    body = {"model": pulled, "insecure": True, "stream": False}
    assert author.api("POST", "/api/pull", body).status == 200
    author.cli("cp", pulled, "copied")
    user.declare(
        "  plain:\n    source: {gguf: ./smol.gguf}\n"
        "  held:\n    source: {gguf: ./smol.gguf}\n    preload: true\n"
        "    parameters: {num_ctx: 256, temperature: 0, stop: [a, 'b: c']}\n"
        "  terse:\n    source: {model: plain}\n    system: |\n      Be: terse.\n       Very.\n"
        f"  over:\n    source: {{registry: '{pulled}', insecure: true}}\n    system: Over.\n"
    )
    user.apply()
    request = {
        "model": "made",
        "from": "plain",
        "template": "{{ .System }} \n\t{{ .Prompt }}  ",
        "system": " ${env:HOME} yes\r\n# no",
        "license": LICENCES,
        "parameters": {"temperature": 0.1, "stop": ["~", "</s>"], "seed": 3},
        "messages": [{"role": "user", "content": "no"}, {"role": "assistant", "content": "a\nb"}],
        "stream": False,
    }
    assert author.api("POST", "/api/create", request).status == 200
    author.create_from_gguf("created", user.folder / "base.gguf", ["TEMPLATE {{ .Prompt }}"])
    author.create_from_gguf("of-pulled", Path(pulled), ["SYSTEM Derived."])
    return pulled


def test_another_host_becomes_the_same(
    tiny: User, registry: LoopbackRegistry, start_ollama: StartOllama, tmp_path: Path
) -> None:
    pulled = furnish(tiny, registry)
    before = store_snapshot(tiny.server.models_dir)
    models = exported(tiny)
    assert store_snapshot(tiny.server.models_dir) == before
    assert set(models) == {
        *["plain", "held", "terse", "over", "made", "created", "of-pulled", "copied", pulled]
    }
    other = User(tmp_path / "other", start_ollama())
    text = tiny.paddock("export").out
    other.file.write_text(text, encoding="utf-8", newline="")
    result = other.apply()
    assert set(other.server.tags()) == set(tiny.server.tags()), result
    for name in tiny.server.tags():
        assert shown(other.server, name) == shown(tiny.server, name), name
    assert set(other.server.ps()) == {"held:latest"}
    assert other.apply().out.startswith("No changes.")


def test_sources_are_told_as_they_were_written(tiny: User, registry: LoopbackRegistry) -> None:
    pulled = furnish(tiny, registry)
    models = exported(tiny)
    gguf = {"gguf": str(tiny.gguf.resolve()), "sha256": models["plain"]["source"]["sha256"]}
    assert models["plain"] == {"source": gguf}
    assert models["held"] == {
        "source": gguf,
        "parameters": {"num_ctx": 256, "stop": ["a", "b: c"], "temperature": 0},
        "preload": True,
        "keep_alive": "forever",
    }
    assert models["terse"] == {"source": {"model": "plain"}, "system": "Be: terse.\n Very.\n"}
    source = {"registry": pulled, "digest": registry.digest("seed", "v1"), "insecure": True}
    assert models[pulled] == {"source": source}
    assert models["copied"] == {"source": source}
    assert models["over"] == {"source": {"model": pulled}, "system": "Over."}
    assert models["of-pulled"] == {"source": {"model": pulled}, "system": "Derived."}
    assert models["created"]["source"]["gguf"].startswith(f"{tiny.server.models_dir}/blobs/sha256-")
    assert models["made"]["license"] == LICENCES
    assert exported(tiny, "plain", "--no-digests") == {"plain": {"source": {"gguf": gguf["gguf"]}}}
    only = exported(tiny, "over")
    assert only == {"over": {"source": source, "system": "Over."}}


def test_on_the_same_host_a_plan_of_it_changes_nothing(
    tiny: User, registry: LoopbackRegistry
) -> None:
    furnish(tiny, registry)
    tiny.file.write_text(tiny.paddock("export").out, encoding="utf-8", newline="")
    tiny.apply()
    plan = tiny.paddock("plan")
    assert plan.out.splitlines()[-1].startswith("No changes."), plan.out
    tags = tiny.server.tags()
    assert tiny.apply().out.splitlines()[-1].startswith("No changes.")
    assert tiny.server.tags() == tags


def test_it_works_without_ollama_and_says_what_is_missing(tiny: User) -> None:
    tiny.declare("  smol:\n    source: {gguf: ./smol.gguf}\n    preload: true\n")
    tiny.apply()
    tiny.server.stop()
    result = tiny.paddock("export")
    assert result.code == 0
    assert "what it holds in memory is left out" in result.err
    assert yaml.safe_load(result.out)["models"]["smol"].keys() == {"source"}
    assert "an Ollama that did not answer" in result.out


def test_what_runs_elsewhere_is_told_of_and_left_out(tiny: User) -> None:
    tiny.server.create_from_gguf("smol", tiny.gguf)
    folder = tiny.server.models_dir
    manifest = json.loads((folder / "manifests/registry.ollama.ai/library/smol/latest").read_text())
    config = json.dumps({"remote_host": "https://ollama.com:443", "remote_model": "big"}).encode()
    digest = tiny.server.api("POST", f"/api/blobs/{_digest(config)}", config)
    assert digest.status == 201
    manifest |= {"layers": []}
    manifest["config"] |= {"digest": _digest(config), "size": len(config)}
    far = folder / "manifests/registry.ollama.ai/library/far/latest"
    far.parent.mkdir()
    far.write_text(json.dumps(manifest))
    broken = folder / "manifests/registry.ollama.ai/library/broken/latest"
    broken.parent.mkdir()
    broken.write_text("{")
    result = tiny.paddock("export", "-o", "json").json
    assert set(result["spec"]["models"]) == {"smol"}
    assert result["skipped"] == [
        {"name": "broken", "message": "its manifest cannot be read"},
        {"name": "far", "message": "it runs at https://ollama.com:443, not here"},
    ]
    text = tiny.paddock("export").out
    assert "# far: left out, it runs at https://ollama.com:443, not here\n" in text


def test_a_name_that_is_not_there_is_an_error(tiny: User) -> None:
    result = tiny.paddock("export", "nobody")
    assert (result.code, result.out) == (1, "")
    assert "nobody is not installed" in result.err


def test_an_empty_store_gives_an_empty_file(tiny: User) -> None:
    assert yaml.safe_load(tiny.paddock("export").out) == {"version": 1, "models": {}}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
