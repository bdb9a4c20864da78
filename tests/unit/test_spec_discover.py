"""The entries of discover in models.yaml: what they mean, and what is wrong with them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from paddock.core.desired import Discover, Trust
from paddock.core.keep_alive import FOREVER
from paddock.core.names import Name
from paddock.core.resolve import resolve
from paddock.edges.specfile import load_spec
from paddock.edges.state import State
from spec_texts import complaints, write

HEAD = "version: 1\n"
FIELDS = "{publisher} {repo} {stem} {dir} {quant}"
WRITE = f"write a field into it: {FIELDS}"


def entries(path: Path) -> tuple[Discover, ...]:
    loaded = load_spec(path, {}, home=Path("/home/ann"))
    return resolve(loaded.spec, str(path)).discover


def test_an_entry_says_where_what_and_how(tmp_path: Path) -> None:
    (tmp_path / "t.tmpl").write_text("{{ .Prompt }}")
    file = write(
        tmp_path,
        HEAD + "defaults: {keep_alive: 5m, parameters: {num_ctx: 1024}, system: Hi.}\n"
        "discover:\n"
        "  - layout: lmstudio\n"
        "    path: models\n"
        "    include: '*Q4*'\n"
        "    exclude: [old, drafts/]\n"
        "    name: 'lms/{stem}'\n"
        "    trust: name\n"
        "    template_file: t.tmpl\n"
        "    parameters: {seed: 1}\n"
        "    system: null\n"
        "    preload: true\n",
    )
    [entry] = entries(file)
    assert (entry.layout, entry.path) == ("lmstudio", f"{tmp_path}/models")
    assert (entry.include, entry.exclude) == (("*Q4*",), ("old", "drafts/"))
    assert (str(entry.name), entry.trust) == ("lms/{stem}", Trust.NAME)
    overrides, residency = entry.model.overrides, entry.model.residency
    assert overrides.parameters == {"num_ctx": 1024, "seed": 1}
    assert (overrides.template, overrides.system) == ("{{ .Prompt }}", None)
    assert (residency.preload, residency.keep_alive) == (True, FOREVER)


def test_an_entry_may_leave_out_all_that_its_layout_tells(tmp_path: Path) -> None:
    [entry] = entries(write(tmp_path, HEAD + "discover: [{layout: huggingface}]\n"))
    assert (entry.path, str(entry.name)) == (None, "{publisher}/{stem}")
    [entry] = entries(write(tmp_path, HEAD + "discover: [{path: ~/m}]\n"))
    assert (entry.path, entry.layout, str(entry.name)) == ("/home/ann/m", "directory", "{stem}")


def test_the_entries_of_a_folders_files_add_up(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.yaml").write_text(HEAD + f"discover: [{{path: ./{name}}}]\n")
    assert [entry.path for entry in entries(tmp_path)] == [f"{tmp_path}/a", f"{tmp_path}/b"]


def test_another_entry_is_another_generation(tmp_path: Path) -> None:
    texts = ["[{path: a}]", "[{path: b}]", "[{path: a, keep_alive: 1m}]", "[]"]
    found = set()
    for text in texts:
        file = write(tmp_path, HEAD + f"models: {{}}\ndiscover: {text}\n")
        found.add(resolve(load_spec(file, {}).spec, "").generation)
    assert len(found) == len(texts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{path: a}", "2:11: discover: must be a list of folders, not a mapping"),
        ("[5]", "2:12: discover[0]: must be a mapping, not the number 5; "),
        ("[{layout: directory}]", "2:12: discover[0].path: is missing; write path: FOLDER"),
        ("[{layout: lmstudo}]", '2:21: discover[0].layout: must be one of .*"lmstudio"'),
        ("[{path: a, nam: b}]", '2:22: discover[0].nam: unknown key; did you mean "name"?'),
        (
            "[{path: a, name: '{sten}'}]",
            f"2:28: discover[0].name: there is no field {{sten}}; the fields are {FIELDS}",
        ),
        (
            "[{path: a, name: x}]",
            f"2:28: discover[0].name: gives every file the same name; {WRITE}",
        ),
        ("[{path: a, include: ['']}]", "2:32: discover[0].include[0]: must not be empty"),
        (
            "[{path: a, parameters: {num_ctxx: 1}}]",
            "2:35: discover[0].parameters.num_ctxx: unknown option of Ollama",
        ),
        ("[{path: a, access: 5}]", "2:30: discover[0].access: must be a mapping"),
        (
            "[{path: a}, {path: b, preload: true, keep_alive: 0}]",
            "2:60: discover[1].keep_alive: 0 unloads the model that preload: true loads",
        ),
        (
            "[{path: a, template: x, template_file: z}]",
            "2:35: discover[0].template_file: template and template_file both give the template",
        ),
        ("[{path: a, template_file: none}]", "2:37: discover[0].template_file: .*does not exist"),
    ],
)
def test_what_is_wrong_with_an_entry_is_told_at_its_place(
    tmp_path: Path, text: str, expected: str
) -> None:
    found = complaints(write(tmp_path, HEAD + f"discover: {text}\n"))
    start, _, end = expected.partition(".*")
    pattern = re.escape(start) + (".*" + re.escape(end) if end else "")
    assert any(re.match(f"models.yaml:{pattern}", line) for line in found), found


def test_the_ledger_keeps_the_names_of_files_and_the_devices_of_folders(tmp_path: Path) -> None:
    state = State(tmp_path, writable=True)
    name = Name.parse("p/x:q4")
    state.record_discovered({("/srv", "a/x.gguf"): Name.parse("x")}, {"/srv": 1})
    state.record_discovered({("/srv", "a/x.gguf"): name}, {"/srv": 2, "/srv/disk": 3})
    state.record_discovered({}, {})
    state.close()
    again = State(tmp_path, writable=False)
    assert again.ledger().discovered == {("/srv", "a/x.gguf"): name}
    assert again.ledger().folders == {"/srv": 2, "/srv/disk": 3}
    again.close()
