"""Which models lie in a folder, for each layout: places, projectors, parts, revisions."""

from __future__ import annotations

import pytest

from discovering import NOW_NS, OLD_NS, entry, scan
from paddock.core.discover_scan import Entry
from paddock.core.layouts import Candidate, Layout, candidates, enters, half_written, key_of

SECOND_NS = 10**9


def found_in(layout: Layout, *files: str | Entry, **fields: object) -> dict[str, Candidate]:
    found = candidates(layout, scan(*files, **fields), "models")
    return {candidate.key: candidate for candidate in found}


@pytest.mark.parametrize(
    ("layout", "path", "publisher", "repo", "stem", "folder"),
    [
        ("directory", "x.gguf", "", "", "x", "models"),
        ("directory", "r/x.gguf", "", "r", "x", "r"),
        ("directory", "a/p/r/x.gguf", "p", "r", "x", "r"),
        ("lmstudio", "p/r/x.gguf", "p", "r", "x", "r"),
        ("lmstudio", "p/r/sub/x.gguf", "p", "r", "x", "sub"),
        ("lmstudio", "r/x.gguf", "", "r", "x", "r"),
        ("transformerlab", "id.gguf/x.gguf", "", "id.gguf", "x", "id.gguf"),
        ("huggingface", "models--p--r/snapshots/c0/x.gguf", "p", "r", "x", "r"),
        ("huggingface", "models--p--r--s/snapshots/c0/x.gguf", "p", "r--s", "x", "r--s"),
        ("huggingface", "models--r/snapshots/c0/x.gguf", "", "r", "x", "r"),
        ("huggingface", "models--p--r/snapshots/c0/q4/x.gguf", "p", "r", "x", "q4"),
        ("llamacpp", "models--p--r/snapshots/c0/x.gguf", "p", "r", "x", "r"),
        ("llamacpp", "p_r-GGUF_x-Q8_0.gguf", "p", "r-GGUF", "x-Q8_0", "models"),
        ("llamacpp", "by_hand.gguf", "", "", "by_hand", "models"),
    ],
)
def test_a_place_tells_publisher_repository_and_folder(
    layout: Layout, path: str, publisher: str, repo: str, stem: str, folder: str
) -> None:
    (found,) = found_in(layout, path).values()
    fields = dict(found.fields)
    fields.pop("quant")
    assert fields == {"publisher": publisher, "repo": repo, "stem": stem, "dir": folder}


def test_a_cached_file_is_known_without_its_revision() -> None:
    assert key_of("huggingface", "models--p--r/snapshots/c0/x.gguf") == "models--p--r/x.gguf"
    assert key_of("directory", "models--p--r/snapshots/c0/x.gguf").count("/") == 3


def test_of_a_cache_only_snapshots_of_models_are_entered() -> None:
    assert enters("huggingface", "models--p--r")
    assert enters("huggingface", "models--p--r/snapshots")
    assert enters("huggingface", "models--p--r/snapshots/c0/sub")
    assert not enters("huggingface", "models--p--r/blobs")
    assert not enters("huggingface", "datasets--p--r")
    assert enters("directory", "blobs")


def test_of_two_revisions_the_one_that_the_reference_names_is_taken() -> None:
    old = entry("models--p--r/snapshots/c0/x.gguf", hop="/b/0", linked_ns=OLD_NS)
    new = entry("models--p--r/snapshots/c1/x.gguf", hop="/b/1", linked_ns=NOW_NS)
    assert found_in("huggingface", old, new)["models--p--r/x.gguf"].entry == new
    refs = {"models--p--r": "c0"}
    assert found_in("huggingface", old, new, refs=refs)["models--p--r/x.gguf"].entry == old


def test_a_file_of_an_older_revision_alone_is_still_a_model() -> None:
    found = found_in(
        "huggingface",
        "models--p--r/snapshots/c0/q4.gguf",
        "models--p--r/snapshots/c1/q8.gguf",
        refs={"models--p--r": "c1"},
    )
    assert set(found) == {"models--p--r/q4.gguf", "models--p--r/q8.gguf"}


def test_parts_of_a_split_model_are_one_model() -> None:
    parts = [f"big-0000{number}-of-00003.gguf" for number in (3, 1, 2)]
    (found,) = found_in("directory", *parts).values()
    assert (found.entry.path, found.fields["stem"], found.waits) == (parts[1], "big", "")


def test_a_split_model_waits_for_all_its_parts() -> None:
    (found,) = found_in("directory", "a/big-00001-of-00003.gguf").values()
    assert (found.waits, found.missing) == ("1 of its 3 parts are there", False)


def test_a_split_model_without_its_first_part_is_known_by_that_all_the_same() -> None:
    (found,) = found_in("directory", "a/big-00002-of-00002.gguf").values()
    assert (found.key, found.missing) == ("a/big-00001-of-00002.gguf", True)


@pytest.mark.parametrize(
    ("age_ns", "waits"),
    [
        (0, "it is still being written"),
        (2 * SECOND_NS, "it is still being written"),
        (4 * SECOND_NS, ""),
        (-3600 * SECOND_NS, ""),
    ],
)
def test_a_file_that_was_just_written_waits(age_ns: int, waits: str) -> None:
    (found,) = found_in("directory", entry("x.gguf", mtime_ns=NOW_NS - age_ns)).values()
    assert found.waits == waits


def test_an_empty_file_waits() -> None:
    (found,) = found_in("directory", entry("x.gguf", size_bytes=0)).values()
    assert found.waits == "it is empty"


def test_half_written_files_are_told_unless_the_whole_one_is_there() -> None:
    found = scan("a.gguf", "a.gguf.part", "b.gguf.part", "c.part.gguf")
    assert half_written("directory", found) == ("b.gguf.part", "c.part.gguf")
    assert set(found_in("directory", "a.gguf", "b.gguf.part", "c.part.gguf")) == {"a.gguf"}


@pytest.mark.parametrize("layout", ["lmstudio", "huggingface", "transformerlab"])
def test_in_a_repository_every_model_has_its_projector(layout: Layout) -> None:
    folder = "models--p--r/snapshots/c0" if layout == "huggingface" else "p/r"
    files = [f"{folder}/{name}" for name in ("a-Q4_0.gguf", "b-Q8_0.gguf", "mmproj-model-f16.gguf")]
    found = found_in(layout, *files)
    assert len(found) == 2
    assert {c.projector and c.projector.path for c in found.values()} == {files[2]}


def test_the_old_llama_cpp_cache_keeps_repositories_apart() -> None:
    found = found_in(
        "llamacpp",
        "g_gemma-GGUF_gemma-Q4_0.gguf",
        "g_gemma-GGUF_mmproj-model-f16.gguf",
        "h_smol-GGUF_smol-Q4_0.gguf",
    )
    projectors = {c.fields["stem"]: c.projector and c.projector.path for c in found.values()}
    assert projectors == {"gemma-Q4_0": "g_gemma-GGUF_mmproj-model-f16.gguf", "smol-Q4_0": None}


def test_in_a_plain_folder_a_projector_goes_with_the_model_that_it_names() -> None:
    found = found_in(
        "directory", "gemma-3-Q4_0.gguf", "gemma-3-Q8_0.gguf", "smol.gguf", "mmproj-gemma-3.gguf"
    )
    with_projector = {key for key, candidate in found.items() if candidate.projector}
    assert with_projector == {"gemma-3-Q4_0.gguf", "gemma-3-Q8_0.gguf"}


def test_a_projector_that_names_no_model_goes_with_the_only_one() -> None:
    found = found_in("directory", "a/x-Q4_0.gguf", "a/x-Q8_0.gguf", "a/mmproj-f16.gguf")
    assert all(candidate.projector for candidate in found.values())
    found = found_in("directory", "a/x.gguf", "a/y.gguf", "a/mmproj-f16.gguf")
    assert not any(candidate.projector for candidate in found.values())
    found = found_in("directory", "smol.gguf", "mmproj-gemma.gguf")
    assert not any(candidate.projector for candidate in found.values())


def test_of_several_precisions_of_a_projector_f16_is_taken() -> None:
    files = [f"p/r/mmproj-{quant}.gguf" for quant in ("F32", "BF16", "F16", "Q4_0")]
    (found,) = found_in("lmstudio", "p/r/x.gguf", *files).values()
    assert found.projector is not None
    assert found.projector.path == "p/r/mmproj-F16.gguf"


def test_a_model_waits_for_the_projector_that_is_being_written() -> None:
    young = entry("p/r/mmproj.gguf", mtime_ns=NOW_NS)
    (found,) = found_in("lmstudio", "p/r/x.gguf", young).values()
    assert found.waits == "it is still being written"


def test_a_projector_alone_and_an_importance_matrix_are_no_models() -> None:
    assert found_in("lmstudio", "p/r/mmproj.gguf", "p/r/imatrix.gguf") == {}


def test_the_order_of_the_entries_means_nothing() -> None:
    files = [
        "b.gguf",
        "a/c.gguf",
        "a/mmproj.gguf",
        "z-00001-of-00002.gguf",
        "z-00002-of-00002.gguf",
    ]
    assert found_in("directory", *files) == found_in("directory", *reversed(files))
