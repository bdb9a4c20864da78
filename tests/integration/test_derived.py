"""Models derived from models: the same as `ollama create` makes of them, without any copy."""

from __future__ import annotations

import json
from typing import Any

from paddock_cli import SMOL, User

TEMPLATE = "{{ range .Messages }}[{{ .Role }}] {{ .Content }}\n{{ end }}"
FIELDS = ("template", "system", "parameters", "messages", "license", "details", "capabilities")


def _shown(user: User, name: str) -> dict[str, Any]:
    """What makes a model: its layers as Ollama shows them. Parameters come in any order."""
    shown = user.server.show(name)
    fields = {key: shown.get(key) for key in FIELDS}
    fields["parameters"] = sorted((shown.get("parameters") or "").splitlines())
    fields["details"] = {k: v for k, v in shown["details"].items() if k != "parent_model"}
    return fields


def _time(user: User) -> int:
    return user.gguf.stat().st_mtime_ns


def test_every_override_gives_what_a_modelfile_gives(user: User) -> None:
    time = _time(user)
    texts = ["Licence of the model.", "And another."]
    user.declare(
        f"{SMOL}    parameters: {{num_ctx: 512}}\n"
        "  derived:\n    source: {model: smol}\n    system: Answer in one sentence.\n"
        f"    template: {json.dumps(TEMPLATE)}\n"
        "    parameters: {temperature: 0.2, stop: ['</s>', '[user]']}\n"
        "    messages: [{role: user, content: hi}, {role: assistant, content: hello}]\n"
        f"    license: {json.dumps(texts)}\n"
    )
    user.apply()
    assert _time(user) == time
    lines = [
        "SYSTEM Answer in one sentence.",
        f'TEMPLATE """{TEMPLATE}"""',
        "PARAMETER temperature 0.2",
        'PARAMETER stop "</s>"',
        'PARAMETER stop "[user]"',
        "MESSAGE user hi",
        "MESSAGE assistant hello",
        *(f"LICENSE {text}" for text in texts),
    ]
    modelfile = user.server.folder / "Derived"
    modelfile.write_text("\n".join(["FROM smol", *lines]) + "\n")
    user.server.cli("create", "created", "-f", modelfile)
    derived = _shown(user, "derived")
    assert derived == _shown(user, "created")
    assert derived["system"] == "Answer in one sentence."
    assert derived["template"] == TEMPLATE
    assert [line.split() for line in derived["parameters"]] == [
        ["num_ctx", "512"],
        ["stop", '"</s>"'],
        ["stop", '"[user]"'],
        ["temperature", "0.2"],
    ]
    assert len(derived["messages"]) == 2
    assert all(text in derived["license"] for text in texts)


def test_overrides_on_the_gguf_itself_give_what_a_modelfile_gives(user: User) -> None:
    user.declare(
        f"{SMOL}    system: Be kind.\n    parameters: {{num_ctx: 512, top_k: 3}}\n"
        f"    template: {json.dumps(TEMPLATE)}\n    license: MIT\n"
    )
    user.apply()
    lines = ["SYSTEM Be kind.", "PARAMETER num_ctx 512", "PARAMETER top_k 3", "LICENSE MIT"]
    user.server.create_from_gguf("created", user.gguf, [*lines, f'TEMPLATE """{TEMPLATE}"""'])
    assert _shown(user, "smol") == _shown(user, "created")


def test_a_chain_of_three_is_made_in_one_apply_and_follows_its_base(user: User) -> None:
    chain = (
        "  third:\n    source: {model: second}\n    parameters: {top_k: 7}\n"
        "  second:\n    source: {model: smol}\n    system: Second.\n"
    )
    user.declare(f"{SMOL}    parameters: {{num_ctx: 512, top_k: 3}}\n{chain}")
    user.apply()
    third = _shown(user, "third")
    assert third["system"] == "Second."
    wanted = [["num_ctx", "512"], ["top_k", "7"]]
    assert [p.split() for p in third["parameters"] if "stop" not in p] == wanted
    assert user.apply().out.startswith("No changes. 3 models match ")

    user.declare(f"{SMOL}    parameters: {{num_ctx: 256, top_k: 3}}\n{chain}")
    user.apply()
    wanted = [["num_ctx", "256"], ["top_k", "7"]]
    assert [p.split() for p in _shown(user, "third")["parameters"] if "stop" not in p] == wanted
    assert user.server.generate("third", "Hi")["response"]


def test_a_base_that_others_installed_is_used_and_not_touched(user: User) -> None:
    user.server.create_from_gguf("base", user.gguf, ["SYSTEM Base.", "PARAMETER top_k 3"])
    before = user.server.tags()["base:latest"]
    user.declare("  derived:\n    source: {model: base}\n    parameters: {num_ctx: 512}\n")
    user.apply()
    assert user.server.tags()["base:latest"] == before
    derived = _shown(user, "derived")
    assert derived["system"] == "Base."
    values = [p.split() for p in derived["parameters"] if "stop" not in p]
    assert values == [["num_ctx", "512"], ["top_k", "3"]]
    assert user.server.generate("derived", "Hi")["response"]


def test_a_derived_model_without_overrides_is_the_same_model_under_another_name(
    user: User,
) -> None:
    user.declare(f"{SMOL}    system: Be kind.\n  copy:\n    source: {{model: smol}}\n")
    user.apply()
    assert _shown(user, "copy") == _shown(user, "smol")


def test_a_base_that_is_not_there_blocks_its_child_alone(user: User) -> None:
    user.declare(f"{SMOL}  orphan:\n    source: {{model: nobody}}\n    system: Alone.\n")
    result = user.apply(code=3)
    assert "(BaseMissing)" in result.out
    assert user.statuses() == {
        "orphan": ("False", "BaseMissing"),
        "smol": ("True", "AsDeclared"),
    }


def test_a_template_that_ollama_refuses_stalls_its_model_alone(user: User) -> None:
    user.declare(f'{SMOL}  broken:\n    source: {{model: smol}}\n    template: "{{{{ .Oops"\n')
    result = user.apply(code=3)
    assert user.statuses()["smol"] == ("True", "AsDeclared")
    [line] = [line for line in result.out.splitlines() if line.startswith("! broken")]
    assert "template" in line
    assert "broken:latest" not in user.server.tags()
    scratch = user.server.models_dir / "manifests" / "paddock.invalid"
    assert not scratch.exists(), "a probe that fails leaves nothing behind"
