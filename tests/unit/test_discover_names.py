"""What discovered models are called: file names, templates, and names that are taken."""

from __future__ import annotations

import hashlib
import re

import pytest

from paddock.core.discover_files import (
    Shard,
    belongs_to,
    is_gguf,
    is_half_written,
    is_imatrix,
    matters,
    quant_of,
    shard_of,
    stem_of,
    without_quant,
)
from paddock.core.discover_globs import matches
from paddock.core.discover_names import NameTemplate, unique
from paddock.core.names import Name

FIELDS = {"publisher": "", "repo": "", "stem": "", "dir": "", "quant": ""}


def name_of(template: str, **fields: str) -> str:
    return NameTemplate.parse(template).name({**FIELDS, **fields}, "some/path.gguf").display


@pytest.mark.parametrize(
    ("stem", "quant", "rest"),
    [
        ("SmolLM2-135M-Instruct.Q4_1", "Q4_1", "SmolLM2-135M-Instruct"),
        ("Qwen2.5-7B-Instruct-Q4_K_M", "Q4_K_M", "Qwen2.5-7B-Instruct"),
        ("gemma-3-4b-it-q8_0", "q8_0", "gemma-3-4b-it"),
        ("phi-4-UD-IQ3_XXS", "IQ3_XXS", "phi-4-UD"),
        ("llama-f16", "f16", "llama"),
        ("gpt-oss-20b-MXFP4", "MXFP4", "gpt-oss-20b"),
        ("model.i1-Q6_K", "Q6_K", "model.i1"),
        ("Q4_0", "Q4_0", ""),
        ("Q4_0-then-Q8_0", "Q8_0", "Q4_0-then"),
        ("Qwen3-8B", "", "Qwen3-8B"),
        ("iq-test", "", "iq-test"),
    ],
)
def test_a_quantisation_is_read_from_a_file_name(stem: str, quant: str, rest: str) -> None:
    assert (quant_of(stem), without_quant(stem)) == (quant, rest)


def test_parts_of_a_split_gguf_are_known_by_llama_cpps_names() -> None:
    assert shard_of("a/big-Q8_0-00002-of-00003.gguf") == Shard("big-Q8_0", 2, 3)
    assert stem_of("a/big-Q8_0-00002-of-00003.gguf") == "big-Q8_0"
    assert shard_of("whole-00001-of-00001.gguf") is None
    assert shard_of("big-2-of-3.gguf") is None


@pytest.mark.parametrize(
    "name",
    ["x.gguf.part", "x.gguf.incomplete", "x.gguf.crdownload", "x.part.gguf", "x.GGUF.tmp"],
)
def test_a_name_for_the_time_being_is_known(name: str) -> None:
    assert is_half_written(name)
    assert matters(name)
    assert not is_gguf(name)


def test_a_gguf_is_known_by_its_extension_in_any_case() -> None:
    assert is_gguf("x.GGUF")
    assert not is_gguf("x.gguf.json")
    assert not matters("xgguf")
    assert is_imatrix("imatrix_unsloth.gguf")
    assert not is_imatrix("llama-imatrix-Q4_0.gguf")


@pytest.mark.parametrize(
    ("projector", "stem", "fits"),
    [
        ("mmproj-gemma-3-4b-it-f16.gguf", "gemma-3-4b-it-Q4_K_M", True),
        ("gemma-3-4b-it.mmproj-f16.gguf", "Gemma-3-4B-IT-q8_0", True),
        ("mmproj-gemma-3-4b-it-f16.gguf", "smollm2-Q4_1", False),
        ("mmproj-model-f16.gguf", "gemma-3-4b-it-Q4_K_M", False),
        ("mmproj.gguf", "model-Q4_0", False),
    ],
)
def test_a_projector_fits_the_model_that_it_names(projector: str, stem: str, fits: bool) -> None:
    assert bool(belongs_to(projector, stem)) is fits


@pytest.mark.parametrize(
    ("template", "fields", "name"),
    [
        ("{stem}", {"stem": "SmolLM2 135M.Q4_1"}, "smollm2-135m.q4_1"),
        ("{publisher}/{stem}", {"publisher": "The.Bloke", "stem": "X"}, "the-bloke/x"),
        ("{publisher}/{stem}", {"stem": "x"}, "x"),
        ("{stem}:{quant}", {"stem": "x-Q4_K_M", "quant": "Q4_K_M"}, "x:q4_k_m"),
        ("{stem}:{quant}", {"stem": "x"}, "x"),
        ("{stem}-{quant}", {"stem": "x"}, "x"),
        ("{stem}:{quant}", {"stem": "Q4_0", "quant": "Q4_0"}, "q4_0:q4_0"),
        ("local/{dir}-{stem}", {"dir": "a/b", "stem": "x"}, "local/a-b-x"),
        ("Host:5000/{publisher}/{stem}", {"publisher": "p", "stem": "x"}, "host:5000/p/x"),
        ("{stem}", {"stem": "--.hidden"}, "hidden"),
        ("{stem}", {"stem": "modèle"}, "mod-le"),
        ("{stem}", {"stem": "a:b@c"}, "a-b-c"),
        ("x:{stem}", {"stem": "cloud"}, "x:cloud-gguf"),
        ("x:{stem}", {"stem": "20b-cloud"}, "x:20b-cloud-gguf"),
        ("x:{stem}", {"stem": "Local"}, "x:local-gguf"),
    ],
)
def test_a_template_gives_a_name_in_ollamas_grammar(
    template: str, fields: dict[str, str], name: str
) -> None:
    assert name_of(template, **fields) == name


def test_a_part_has_at_most_80_characters() -> None:
    assert name_of("{stem}", stem="x" * 300) == "x" * 80


def test_a_file_whose_name_leaves_nothing_is_called_by_its_path() -> None:
    digest = hashlib.sha256(b"some/path.gguf").hexdigest()
    assert name_of("{stem}", stem="日本") == f"gguf-{digest[:6]}"


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{sten}", "there is no field {sten}; the fields are {publisher} {repo} {stem} {dir}"),
        ("{}", "there is no field {}; the fields are"),
        ("model", "gives every file the same name; write a field into it"),
        ("{stem", "braces do not match"),
        ("{stem:>5}", "{stem} takes no format; write {stem} alone"),
        ("{stem!r}", "{stem} takes no format; write {stem} alone"),
        ("a b/{stem}", 'gives no model name: the namespace holds " "'),
        ("{stem}:cloud", 'gives no model name: Ollama keeps the tag "cloud"'),
        ("-{stem}", 'gives no model name: the model begins with "-"'),
        ("http://{publisher}/{repo}/{stem}", "gives no model name: it holds '://'"),
    ],
)
def test_a_template_that_gives_no_name_is_refused(template: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(problem)}"):
        NameTemplate.parse(template)


def test_a_name_that_is_taken_gets_digits_of_the_paths_digest() -> None:
    plain, digest = Name.parse("x"), hashlib.sha256(b"a/x.gguf").hexdigest()
    assert unique(plain, "/srv", "a/x.gguf", set()) == plain
    first = unique(plain, "/srv", "a/x.gguf", {plain})
    assert first.model == f"x-{digest[:6]}"
    second = unique(plain, "/other", "a/x.gguf", {plain, first})
    assert second not in {plain, first}
    assert second == unique(plain, "/other", "a/x.gguf", {plain, first})


def test_digits_are_added_within_80_characters() -> None:
    long = Name.parse("x" * 80)
    found = unique(long, "/srv", "x.gguf", {long})
    assert len(found.model) == 80
    assert found.model.startswith("x" * 73 + "-")


@pytest.mark.parametrize(
    ("path", "pattern", "matched"),
    [
        ("a/b.gguf", "**/*.gguf", True),
        ("b.gguf", "**/*.gguf", True),
        ("a/b.gguf", "*.gguf", True),
        ("a/b.gguf", "/*.gguf", False),
        ("a/b.gguf", "a", True),
        ("a/b.gguf", "a/", True),
        ("x/a/b.gguf", "a/", True),
        ("x/a/b.gguf", "/a", False),
        ("x/a/b.gguf", "x/a", True),
        ("x/a/b.gguf", "x/*.gguf", False),
        ("x/a/b.gguf", "x/**", True),
        ("xa/b.gguf", "x/**", False),
        ("b-Q4_0.gguf", "*Q4_[0-1]*", True),
        ("b-Q4_2.gguf", "*Q4_[0-1]*", False),
        ("b-Q4_2.gguf", "*Q4_[!0-1]*", True),
        ("a.gguf", "?.gguf", True),
        ("a.gguf", "a[z-a].gguf", False),
        ("a+b.gguf", "a+b.gguf", True),
        ("a[b.gguf", "a[b.gguf", True),
        ("aagguf", "a.gguf", False),
    ],
)
def test_globs_mean_what_they_mean_in_ignore_files(path: str, pattern: str, matched: bool) -> None:
    assert matches(path, [pattern]) is matched
