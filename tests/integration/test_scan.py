"""`paddock scan`: what it prints is models.yaml that loads and applies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import tiny_models as tiny
from gguf_files import adapter_bytes
from paddock_cli import Result, User, clean_environment, run
from snapshots import store_snapshot
from stores import links

LONG_AGO = (1_700_000_000, 1_700_000_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as LM Studio keeps it, with what people have there besides."""
    root = tmp_path / "models"
    files = {
        "Pub/Repo/One-Q8_0.gguf": tiny.chat_model(),
        "Pub/Repo/mmproj-f16.gguf": tiny.projector(),
        "Pub/Other/a b'\"{}: #.gguf": tiny.chat_model(2),
        "Pub/Other/lora.gguf": adapter_bytes(),
        "Pub/Other/cut.gguf": tiny.chat_model()[:-50],
        "Pub/Other/coming.gguf.part": b"GGUF",
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
        os.utime(root / name, LONG_AGO)
    return root


def scan(*arguments: str | Path) -> Result:
    result = run(["scan", *arguments], clean_environment())
    assert result.code == 0, result
    return result


def test_models_are_printed_with_what_is_known_of_each(folder: Path) -> None:
    one, other = folder / "Pub/Repo", folder / "Pub/Other"
    assert (
        scan(folder).out
        == f"""\
# yaml-language-server: $schema=models.v1.schema.json
# $schema: models.v1.schema.json

version: 1

models:
  # 280.7 kB, llama, 135K, F16
  pub/a-b-------:
    source: {{gguf: "{other}/a b'\\"{{}}: #.gguf"}}

  # 280.7 kB, llama, 135K, F16, with a projector
  pub/one-q8_0:
    source: {{gguf: {one}/One-Q8_0.gguf, projector: {one}/mmproj-f16.gguf}}

# left out:
#   {other}/coming.gguf.part: it is half-written
#   {other}/cut.gguf: truncated: its tensor data ends at byte 280672, but the file has 280622; \
download it again
#   {other}/lora.gguf: it is an adapter, no model; name it under adapters of the model that it is \
for
"""
    )


def test_entries_of_discover_are_printed_with_what_they_give_today(folder: Path) -> None:
    out = scan("--discover", "--name", "{stem}", folder).out
    assert "# 2 models today:\n#   a-b-------: 280.7 kB, llama, 135K, F16\n" in out
    assert 'name: "{stem}"' in out.splitlines()[-1]


@pytest.mark.parametrize("arguments", [[], ["--discover"], ["--layout", "directory"]])
@pytest.mark.parametrize("form", ["text", "yaml"])
def test_what_is_printed_is_valid(
    folder: Path, tmp_path: Path, arguments: list[str], form: str
) -> None:
    file = tmp_path / "models.yaml"
    if form == "text":
        file.write_text(scan(*arguments, folder).out)
    else:
        import yaml

        document = yaml.safe_load(scan(*arguments, "-o", "yaml", folder).out)
        file.write_text(yaml.safe_dump(document["spec"], sort_keys=False))
    result = run(["validate", file], clean_environment())
    assert (result.code, result.err) == (0, "")


@pytest.mark.parametrize("arguments", [[], ["--discover"]])
def test_what_is_printed_applies_and_both_ways_give_the_same_names(
    user: User, folder: Path, arguments: list[str]
) -> None:
    user.file.write_text(scan(*arguments, folder).out)
    user.apply()
    assert set(user.server.tags()) == {"pub/a-b-------:latest", "pub/one-q8_0:latest"}
    linked = {link.readlink().name for link in links(user.server.models_dir)}
    assert linked == {"a b'\"{}: #.gguf", "One-Q8_0.gguf", "mmproj-f16.gguf"}


def test_json_says_the_same(folder: Path) -> None:
    document = scan("-o", "json", folder).json
    assert document["format_version"] == 1
    [other, one] = document["models"]
    assert (one["name"], other["name"]) == ("pub/one-q8_0", "pub/a-b-------")
    assert one["projector"] == str(folder / "Pub/Repo/mmproj-f16.gguf")
    assert (one["architecture"], one["parts"], one["quantization"]) == ("llama", 1, "F16")
    left = {Path(out["path"]).name: out["reason"] for out in document["left_out"]}
    assert left == {
        "coming.gguf.part": "HalfWritten",
        "cut.gguf": "Truncated",
        "lora.gguf": "NotAModel",
    }


def test_a_split_model_is_one_and_said_to_be_copied(tmp_path: Path) -> None:
    for name, content in tiny.split_model().items():
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, LONG_AGO)
    out = scan(tmp_path).out
    assert out.count("source:") == 1
    assert "split in 2 parts, which Ollama merges into a copy" in out


def test_several_folders_give_each_file_a_name_of_its_own(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.gguf").write_bytes(tiny.chat_model())
        os.utime(tmp_path / folder / "x.gguf", LONG_AGO)
    models = scan("-o", "json", tmp_path / "a", tmp_path / "b").json["spec"]["models"]
    assert len(models) == 2
    assert all(name.startswith("x") for name in models)


def test_nothing_is_changed(folder: Path) -> None:
    before = store_snapshot(folder)
    scan(folder)
    assert store_snapshot(folder) == before


def test_an_empty_folder_gives_a_file_without_models(tmp_path: Path) -> None:
    assert scan(tmp_path).out.endswith("version: 1\n\nmodels: {}\n")


def test_a_folder_that_is_not_there_and_a_bad_template_are_told(tmp_path: Path) -> None:
    missing = run(["scan", tmp_path / "none"], clean_environment())
    what = f"paddock: {tmp_path}/none does not exist; name a folder of GGUFs\n"
    assert (missing.code, missing.out, missing.err) == (1, "", what)
    bad = run(["scan", tmp_path, "--name", "{sten}"], clean_environment())
    assert bad.code == 64
    assert "there is no field {sten}" in bad.err
