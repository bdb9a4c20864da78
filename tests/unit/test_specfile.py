"""models.yaml from disk: what loads, which files are read, and how a folder is merged."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from paddock.core.keep_alive import KeepAlive
from paddock.core.spec_sources import FileSpec, GgufSource
from paddock.edges.specfile import load_spec
from paddock.edges.specfile.files import MAX_SPEC_BYTES, MAX_TEMPLATE_BYTES
from spec_texts import EMPTY, HEAD, complaints, load, write


def test_libyaml_is_there() -> None:
    """The pure parser would take twenty times as long, and nests calls as the file does."""
    assert yaml.__with_libyaml__


def test_a_quoted_scalar_is_text_and_a_plain_one_has_the_core_schemas_type(tmp_path: Path) -> None:
    text = (
        HEAD + '  a:\n    source: {gguf: "5"}\n    system: "no"\n    preload: True\n'
        "    template: ~\n    parameters: {seed: 0x10, temperature: -0.5, top_k: +7}\n"
    )
    model = load(tmp_path, text).spec.models["a"]
    assert (model.system, model.preload, model.template) == ("no", True, None)
    assert model.parameters is not None
    assert model.parameters.options() == {
        "seed": 16,
        "temperature": -0.5,
        "top_k": 7,
    }


@pytest.mark.parametrize("value", ["-1", '"-1"', "forever", "-5m"])
def test_keep_alive_is_taken_quoted_or_not(value: str, tmp_path: Path) -> None:
    text = HEAD + f"  a: {{source: {{gguf: x}}, keep_alive: {value}}}\n"
    assert load(tmp_path, text).spec.models["a"].keep_alive == KeepAlive(None)


def test_a_byte_order_mark_windows_lines_and_a_document_mark_are_fine(tmp_path: Path) -> None:
    text = "\ufeff---\r\n" + (HEAD + "  a: {source: {gguf: x}}\n").replace("\n", "\r\n") + "...\r\n"
    assert list(load(tmp_path, text).spec.models) == ["a"]


def test_an_anchor_may_be_used_again(tmp_path: Path) -> None:
    text = (
        HEAD + "  a: {source: {gguf: x}, parameters: &p {seed: 1}}\n"
        "  b: {source: {gguf: x}, parameters: *p}\n"
    )
    models = load(tmp_path, text).spec.models
    assert models["a"].parameters == models["b"].parameters


def test_models_braces_is_an_explicit_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, "version: 1\nmodels: {}\n").spec.models == {}


def test_references_are_filled_in_after_parsing(tmp_path: Path) -> None:
    text = HEAD + (
        '  "${env:NAME}":\n    source: {gguf: "${env:DIR}/${env:FILE:-x.gguf}"}\n'
        "    system: |\n      Say ${env:WORD:-hello}, not $${env:WORD}.\n"
    )
    loaded = load(tmp_path, text, NAME="5", DIR="/a: [b]", FILE="", WORD="x\n  y: z")
    model = loaded.spec.models["5"]
    assert model.source == GgufSource(gguf=FileSpec(path="/a: [b]/x.gguf"))
    assert model.system == "Say x\n  y: z, not ${env:WORD}.\n"


@pytest.mark.parametrize(
    ("written", "value", "preload", "keep_alive"),
    [
        ("preload: ${env:V}", "true", True, None),
        ("keep_alive: ${env:V}", "5", None, 5.0),
        ("keep_alive: ${env:UNSET:-7}", "", None, 7.0),
        ('keep_alive: "${env:V}m"', "5", None, 300.0),
    ],
)
def test_a_plain_scalar_that_is_one_reference_takes_its_values_type(
    written: str, value: str, preload: bool | None, keep_alive: float | None, tmp_path: Path
) -> None:
    model = load(tmp_path, HEAD + f"  a:\n    source: {{gguf: x}}\n    {written}\n", V=value).spec
    found = model.models["a"]
    assert found.preload == preload
    assert found.keep_alive == (KeepAlive(keep_alive) if keep_alive is not None else None)


@pytest.mark.parametrize("value", ["no", "", "014"])
def test_an_ambiguous_or_empty_value_of_a_reference_stays_text(value: str, tmp_path: Path) -> None:
    text = HEAD + "  a:\n    source: {gguf: x}\n    system: ${env:V}\n"
    assert load(tmp_path, text, V=value).spec.models["a"].system == value


def test_a_variable_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + '  a: {source: {gguf: "${env:V}"}}\n')
    assert complaints(path, V=os.fsdecode(b"\xff")) == [
        (
            "models.yaml:3:22: models.a.source.gguf: the environment variable V is not UTF-8; "
            "set it anew"
        )
    ]


def test_relative_paths_lead_from_the_folder_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = HEAD + (
        "  a: {source: {gguf: ./x/../y.gguf}}\n  b: {source: {gguf: ~/z.gguf}}\n"
        "  c: {source: {gguf: /srv/z.gguf}}\n  d: {source: {gguf: ./~z}}\n"
    )
    write(tmp_path, text)
    monkeypatch.chdir(tmp_path)
    loaded = load_spec(Path("models.yaml"), {}, home=Path("/home/alice"))
    sources = [model.source for model in loaded.spec.models.values()]
    assert sources == [
        GgufSource(gguf=FileSpec(path=f"{tmp_path}/x/../y.gguf")),
        GgufSource(gguf=FileSpec(path="/home/alice/z.gguf")),
        GgufSource(gguf=FileSpec(path="/srv/z.gguf")),
        GgufSource(gguf=FileSpec(path=f"{tmp_path}/~z")),
    ]
    assert set(loaded.base_dirs.values()) == {tmp_path}


def test_a_template_file_is_read_into_the_template(tmp_path: Path) -> None:
    write(tmp_path, "{{ .Prompt }}\r\n", "chat.tmpl")
    text = (
        "version: 1\ndefaults: {template_file: chat.tmpl}\nmodels:\n"
        "  a: {source: {gguf: x}, template_file: ./chat.tmpl}\n"
    )
    loaded = load(tmp_path, text)
    assert loaded.spec.defaults.template == "{{ .Prompt }}\r\n"
    assert loaded.spec.models["a"].template == "{{ .Prompt }}\r\n"
    assert loaded.files == (tmp_path / "models.yaml", tmp_path / "chat.tmpl")


def test_the_digest_follows_the_bytes_of_every_file_read(tmp_path: Path) -> None:
    write(tmp_path, "one", "chat.tmpl")
    text = HEAD + "  a: {source: {gguf: x}, template_file: chat.tmpl}\n"
    first, again = load(tmp_path, text).digest, load(tmp_path, text).digest
    write(tmp_path, "two", "chat.tmpl")
    assert first == again != load(tmp_path, text).digest


def test_template_files_that_cannot_be_used_are_each_told_of(tmp_path: Path) -> None:
    write(tmp_path, b"\xff", "latin.tmpl")
    write(tmp_path, b"a\0b", "nul.tmpl")
    write(tmp_path, b"x" * (MAX_TEMPLATE_BYTES + 1), "large.tmpl")
    (tmp_path / "folder.tmpl").mkdir()
    os.mkfifo(tmp_path / "fifo.tmpl")
    names = ["missing", "latin", "nul", "large", "folder", "fifo"]
    models = [f"  {name}: {{source: {{gguf: x}}, template_file: {name}.tmpl}}\n" for name in names]
    lines = complaints(write(tmp_path, HEAD + "".join(models)))
    assert [line.partition(".tmpl: ")[2] for line in lines] == [
        "the file does not exist; create it, or name another",
        "the file is not UTF-8; save it as UTF-8",
        "the file holds a NUL character; name a text file",
        "the file is larger than 1024 KiB; make it smaller",
        "it is a folder, not a file; name a file",
        "it is not a regular file; name a file on disk",
    ]
    assert lines[0].startswith("models.yaml:3:47: models.missing.template_file: missing.tmpl: ")


def test_a_file_that_is_missing_too_large_or_no_file_is_told_of(tmp_path: Path) -> None:
    large = write(tmp_path, b"#" * (MAX_SPEC_BYTES + 1), "large.yaml")
    os.mkfifo(tmp_path / "fifo.yaml")
    below, long = large / "models.yaml", tmp_path / ("x" * 300)
    assert [
        complaints(path)[0].partition(":1:1: ")[2]
        for path in (
            tmp_path / "none.yaml",
            below,
            large,
            tmp_path / "fifo.yaml",
            long,
        )
    ] == [
        "the file does not exist; create it, or name another",
        "the file does not exist; create it, or name another",
        "the file is larger than 8192 KiB; make it smaller",
        "it is not a regular file; name a file on disk",
        "it cannot be read: file name too long; check the path",
    ]


@contextlib.contextmanager
def as_somebody() -> Iterator[None]:
    """As root, who may read every file, somebody else for a while."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(me)


def test_a_file_that_may_not_be_read_is_told_of() -> None:
    line = "models.yaml:1:1: the file may not be read by this user; allow it to be read"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # unlike the folder of all tests, which only its owner may enter
        path = write(folder, HEAD)
        path.chmod(0)
        with as_somebody():
            assert complaints(path) == [line]


def test_a_folder_is_merged_in_the_order_of_its_names(tmp_path: Path) -> None:
    write(tmp_path, HEAD + "  b: {source: {gguf: ./b.gguf}}\n", "20-b.yaml")
    write(tmp_path, HEAD + "  a: {source: {model: b}}\n", "10-a.yaml")
    write(tmp_path, "version: 1\ndefaults: {keep_alive: 5m}\n", "00-defaults.yaml")
    write(tmp_path, "not: read", ".hidden.yaml")
    write(tmp_path, "not read", "README.md")
    loaded = load_spec(tmp_path, {})
    assert list(loaded.spec.models) == ["a", "b"]
    assert loaded.spec.defaults.keep_alive == KeepAlive(300.0)
    assert loaded.base_dirs == {"a": tmp_path, "b": tmp_path}
    assert [file.name for file in loaded.files] == ["00-defaults.yaml", "10-a.yaml", "20-b.yaml"]


def test_what_two_files_of_a_folder_declare_names_both_places(tmp_path: Path) -> None:
    head = "version: 1\ndefaults: {keep_alive: 5m}\nmodels:\n"
    write(tmp_path, head + "  a: {source: {gguf: x}}\n  b: {source: {gguf: x}}\n", "1.yaml")
    write(tmp_path, head + "  a: {source: {gguf: x}}\n  B: {source: {gguf: 5}}\n", "2.yaml")
    write(tmp_path, HEAD + "  c: {source: {model: d}}\n", "3.yaml")
    write(tmp_path, HEAD + "  d: {state: absent}\n", "4.yaml")
    assert complaints(tmp_path) == [
        "2.yaml:2:1: defaults: declared twice, first at 1.yaml:2:1; keep one",
        "2.yaml:4:3: models.a: declared twice, first at 1.yaml:4:3; keep one",
        '2.yaml:5:3: models.B: names the same model as "b" at 1.yaml:5:3; keep one',
        "2.yaml:5:22: models.B.source.gguf: must be text, not the number 5; put it in quotes",
        (
            '3.yaml:3:23: models.c.source.model: "d" is declared absent at 4.yaml:3:7; '
            "choose another base"
        ),
    ]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, "1:1: the folder holds no .yaml file; write one, or name another folder"),
        ({"a.yaml": "", "b.yml": ""}, "1:1: b.yml would not be read; let its name end in .yaml"),
        (
            {"a.yaml": "version: 1\n"},
            "a.yaml:1:1: models: is missing; write models: {} to declare none",
        ),
        ({"a.yaml": HEAD + "  x: {state: absent}\n", "b.yaml": "# soon\n"}, f"b.yaml:1:1: {EMPTY}"),
    ],
)
def test_a_folder_that_would_lose_models_silently_is_refused(
    files: dict[str, str], expected: str, tmp_path: Path
) -> None:
    for name, text in files.items():
        write(tmp_path, text, name)
    assert [line.removeprefix(f"{tmp_path.name}:") for line in complaints(tmp_path)] == [expected]


def test_a_file_full_of_errors_stops_after_a_hundred(tmp_path: Path) -> None:
    models = "".join(f"  m{number}: no\n" for number in range(1000))
    lines = complaints(write(tmp_path, HEAD + models))
    assert len(lines) == 101
    assert "models.yaml:102:8: models.m99: too many errors; correct those above first" in lines


def test_a_thousand_models_load_quickly(tmp_path: Path) -> None:
    """Processor time, and a bound three times what an idle machine needs."""
    model = (
        "  model-{}:\n    source: {{gguf: /srv/models/{}.gguf}}\n    keep_alive: 5m\n"
        "    preload: true\n    system: Answer briefly.\n"
        "    parameters: {{num_ctx: 4096, temperature: 0.2, stop: [a, b]}}\n"
    )
    text = HEAD + "".join(model.format(number, number) for number in range(1000))
    start = time.process_time()
    assert len(load(tmp_path, text).spec.models) == 1000
    assert time.process_time() - start < 0.6
