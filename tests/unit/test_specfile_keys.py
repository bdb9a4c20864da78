"""Bad keys and values in models.yaml: every problem, in plain words, at its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from spec_texts import HEAD, complaints, write

FORMS = (
    "{gguf: PATH}, {registry: NAME}, {model: NAME}, {modelfile: PATH} "
    "or {huggingface: ORG/REPO, file: GLOB}"
)

# Each row: the text of models.yaml, and what follows "models.yaml:" in each expected line.
BAD: dict[str, tuple[str, list[str]]] = {
    "no models": ("version: 1\n", ["1:1: models: is missing; write models: {} to declare none"]),
    "empty models": (
        HEAD,
        [
            (
                "2:8: models: must be a mapping, not empty; "
                "write each model as NAME: {source: ...}, or models: {} for none"
            )
        ],
    ),
    "a list": ("- a\n", ["1:1: must be a mapping, not a list; write version: 1 and models:"]),
    "no version": ("models: {}\n", ["1:1: version: is missing; write version: 1"]),
    "another version": (
        'version: "1"\nmodels: {}\n',
        ["1:10: version: must be 1, the one version there is; write version: 1"],
    ),
    "a misspelt key": (
        HEAD + "  smollm2:\n    source: {gguf: a}\n    sytem: Hi.\n",
        ['5:5: models.smollm2.sytem: unknown key; did you mean "system"?'],
    ),
    "models named like keys": (
        HEAD + "  source: {sourc: {gguf: a}}\n  parameters: {source: {model: a, nam: b}}\n"
        "  messages: {source: {gguf: a}, mesages: []}\n",
        [
            '3:12: models.source.sourc: unknown key; did you mean "source"?',
            "4:35: models.parameters.source.nam: unknown key; allowed here: model",
            '5:33: models.messages.mesages: unknown key; did you mean "messages"?',
        ],
    ),
    "a misspelt source": (
        HEAD + "  smollm2:\n    source:\n      ggfu: a\n",
        ['5:7: models.smollm2.source.ggfu: unknown key; did you mean "gguf"?'],
    ),
    "a key at the top": (
        "version: 1\nmodels: {}\nmodelz: {}\n",
        ['3:1: modelz: unknown key; did you mean "models"?'],
    ),
    "prune": (
        "version: 1\nmodels: {}\nprune: {max: -1, maxx: 2}\n",
        [
            "3:14: prune.max: must not be negative; write how many models may go at once",
            '3:18: prune.maxx: unknown key; did you mean "max"?',
        ],
    ),
    "prune of another kind": (
        'version: 1\nmodels: {}\nprune: "yes"\n',
        ["3:8: prune: is neither true nor false; write true, false or {max: N}"],
    ),
    "files of a model": (
        HEAD + "  a:\n    source:\n      gguf: {path: x, sha256: 00ff, trusty: name}\n"
        "      projector: http://a/b\n      adapters: x.gguf\n      draft: 5\n"
        "      trust: always\n  b: {source: {gguf: x, projector: x}}\n"
        '  c: {source: {gguf: x, adapters: [z, ""]}}\n'
        "  d: {source: {gguf: {path: x, trust: name}, trust: name}}\n",
        [
            (
                "5:31: models.a.source.gguf.sha256: must be a SHA-256: 64 hexadecimal digits, "
                "in quotes"
            ),
            '5:37: models.a.source.gguf.trusty: unknown key; did you mean "trust"?',
            (
                "6:18: models.a.source.projector: must be a path on this host, not an address; "
                "download the file first"
            ),
            "7:17: models.a.source.adapters: must be a list of files, not text",
            "8:14: models.a.source.draft: must be text, not the number 5; put it in quotes",
            "9:14: models.a.source.trust: must be one of verify, name",
            '10:36: models.b.source.projector: "x" is named by gguf too; name another file',
            "11:39: models.c.source.adapters[1]: must not be empty; write a value, or remove it",
            "12:53: models.d.source.trust: trust of the file is given in gguf too; keep one",
        ],
    ),
    "keys that are no defaults": (
        "version: 1\ndefaults: {state: absent}\nmodels: {}\n",
        ["2:12: defaults.state: cannot be a default; write it on each model"],
    ),
    "a model without a source": (
        HEAD + "  a: {}\n  b:\n  c: {source: {}}\n  d: {source: x}\n  e: {source: }\n",
        [
            f"3:3: models.a.source: is missing; write source: {FORMS}, or state: absent",
            "4:5: models.b: must be a mapping, not empty; write at least source: {gguf: PATH}",
            f"5:15: models.c.source: does not say where the model comes from; write {FORMS}",
            f"6:15: models.d.source: must be a mapping, not text; write {FORMS}",
            f"7:7: models.e.source: is missing; write source: {FORMS}, or state: absent",
        ],
    ),
    "two sources": (
        HEAD + "  a: {source: {gguf: x, registry: z}}\n",
        [
            (
                "3:15: models.a.source: gguf and registry are given, "
                "but a model has one source; keep one"
            )
        ],
    ),
    "bad names and digests": (
        HEAD + "  a b: {source: {gguf: x}}\n  m:cloud: {source: {gguf: x}}\n"
        "  c: {source: {registry: x//y, digest: sha256:12}}\n",
        [
            (
                '3:3: models."a b": "a b" is not a model name: the model holds " "; '
                "use letters, digits and _ - ."
            ),
            (
                '4:3: models.m:cloud: "m:cloud" is not a model name: '
                'Ollama keeps the tag "cloud" to itself; use another tag'
            ),
            (
                '5:26: models.c.source.registry: "x//y" is not a model name: '
                "the namespace is empty; write one, or leave out its separator"
            ),
            (
                '5:40: models.c.source.digest: "sha256:12" is not a digest; '
                "write sha256: and 64 hexadecimal digits"
            ),
        ],
    ),
    "a scratch name": (
        HEAD + "  paddock.invalid/probe/0123456789abcdef: {source: {gguf: x}}\n",
        [
            (
                "3:3: models.paddock.invalid/probe/0123456789abcdef: "
                "paddock.invalid/probe/0123456789abcdef is a name that Paddock keeps for itself; "
                "use another one"
            )
        ],
    ),
    "values of the wrong type": (
        HEAD + "  a:\n    source: {gguf: 5}\n    system: true\n    preload: 'true'\n"
        "    license: {a: b}\n    messages: hi\n    labels: {x: 1}\n    state: presnt\n"
        "    parameters: {num_ctx: '4096', temperature: hot, top_k: 1.5, stop: [1], top_p: .inf}\n",
        [
            "4:20: models.a.source.gguf: must be text, not the number 5; put it in quotes",
            "5:13: models.a.system: must be text, not true; put it in quotes",
            "6:14: models.a.preload: must be true or false, not text; remove the quotes",
            "7:14: models.a.license: must be text or a list of texts, not a mapping",
            "8:15: models.a.messages: must be a list of messages, not text",
            "9:17: models.a.labels.x: must be text, not the number 1; put it in quotes",
            '10:12: models.a.state: must be one of present, absent; did you mean "present"?',
            (
                "11:27: models.a.parameters.num_ctx: must be a whole number, not text; "
                "remove the quotes"
            ),
            "11:48: models.a.parameters.temperature: must be a number, not text",
            "11:60: models.a.parameters.top_k: must be a whole number, not the number 1.5",
            "11:72: models.a.parameters.stop[0]: must be text, not the number 1; put it in quotes",
            (
                "11:83: models.a.parameters.top_p: is not a number that Ollama can hold; "
                "write a smaller one"
            ),
        ],
    ),
    "wrong options": (
        HEAD + "  a:\n    source: {gguf: x}\n    parameters: {tempreature: 1, mirostat: 1}\n",
        [
            (
                "5:18: models.a.parameters.tempreature: unknown option of Ollama; "
                'did you mean "temperature"?'
            ),
            "5:34: models.a.parameters.mirostat: Ollama no longer has this option; remove it",
        ],
    ),
    "messages": (
        HEAD + "  a:\n    source: {gguf: x}\n    messages:\n"
        "      - {role: bot, content: hi}\n      - {role: user, text: hi}\n",
        [
            "6:16: models.a.messages[0].role: must be one of system, user, assistant",
            "7:9: models.a.messages[1].content: is missing; write content: TEXT",
            "7:22: models.a.messages[1].text: unknown key; allowed here: content, role",
        ],
    ),
    "keep_alive": (
        HEAD + "  a: {source: {gguf: x}, keep_alive: 5 minutes}\n"
        "  b: {source: {gguf: x}, preload: true, keep_alive: 0}\n",
        [
            (
                '3:38: models.a.keep_alive: "5 minutes" is not a time; '
                "write 5m, 1h30m, a number of seconds, 0 or forever"
            ),
            (
                "4:53: models.b.keep_alive: 0 unloads the model that preload: true loads; "
                "write forever or a time, or remove preload"
            ),
        ],
    ),
    "paths": (
        HEAD + '  a: {source: {gguf: "hf://x/y"}}\n  b: {source: {gguf: ~bob/x}}\n'
        '  c: {source: {gguf: ""}}\n',
        [
            (
                "3:22: models.a.source.gguf: must be a path on this host, not an address; "
                "download the file first"
            ),
            (
                "4:22: models.b.source.gguf: ~ is understood for the daemon's own user only; "
                "write the whole path, or ./~... for a file of that name"
            ),
            "5:22: models.c.source.gguf: must not be empty; write a value, or remove it",
        ],
    ),
    "one name twice": (
        HEAD + "  smollm2: {source: {gguf: x}}\n  SmolLM2:latest: {source: {gguf: x}}\n",
        [
            (
                '4:3: models.SmolLM2:latest: names the same model as "smollm2" at models.yaml:3:3; '
                "keep one"
            )
        ],
    ),
    "a circle": (
        HEAD + "  a: {source: {model: b}}\n  b: {source: {model: a}}\n  c: {source: {model: c}}\n",
        [
            (
                "3:23: models.a.source.model: the models are based on each other in a circle: "
                "a -> b -> a; give one of them a gguf or a registry source"
            ),
            (
                "5:23: models.c.source.model: the model is its own base; "
                "name another model, or give a gguf"
            ),
        ],
    ),
    "a base that is absent": (
        HEAD + "  a: {source: {model: b}}\n  b:\n    state: absent\n    system: x\n",
        [
            (
                '3:23: models.a.source.model: "b" is declared absent at models.yaml:5:5; '
                "choose another base"
            ),
            "6:5: models.b.system: means nothing beside state: absent; remove one of the two",
        ],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_key_or_value_is_told_of_line_by_line(name: str, tmp_path: Path) -> None:
    text, expected = BAD[name]
    assert complaints(write(tmp_path, text)) == [f"models.yaml:{line}" for line in expected]
