"""From folders to desired models: what becomes one, what stays of one that is no longer seen."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from discovering import (
    DEVICE,
    FOLDER,
    NO_WISH,
    NOW_NS,
    STORE,
    discover,
    discovered,
    entry,
    look,
    names_of,
    scan,
)
from gguf_files import model_bytes
from paddock.core.desired import (
    Desired,
    DesiredModel,
    File,
    FromFile,
    Overrides,
    Residency,
    State,
    Trust,
)
from paddock.core.discover import Discovered
from paddock.core.discover_kinds import with_doubts, without_others
from paddock.core.gguf import Facts, Kind, facts, read_header
from paddock.core.names import Name
from paddock.core.observed import FileStat, SourceFact, SourceFile, SourceMissing, Unknown

GONE = Unknown("FolderMissing", f"{FOLDER} does not exist")


def hex6(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()[:6]


def declares(name: str, state: State = State.PRESENT) -> Desired:
    model = DesiredModel(Name.parse(name), state, None)
    return replace(NO_WISH, models={model.name: model})


def notes_of(found: Discovered) -> dict[str, tuple[str, str]]:
    return {note.path: (note.reason, note.message) for note in found.desired.found.notes}


def test_every_gguf_becomes_a_model_as_its_entry_says() -> None:
    model = replace(
        discover().model,
        overrides=Overrides(system="Be brief."),
        residency=Residency(preload=True),
    )
    entry_ = discover("lmstudio", model=model, trust=Trust.NAME)
    found = discovered(look(scan("P/r/X.gguf", "P/r/mmproj.gguf"), entry_))
    assert found.desired.models == {
        Name.parse("p/x"): replace(
            model,
            name=Name.parse("p/x"),
            source=FromFile(
                File(f"{FOLDER}/P/r/X.gguf", trust=Trust.NAME),
                File(f"{FOLDER}/P/r/mmproj.gguf", trust=Trust.NAME),
            ),
        )
    }
    assert found.desired.found.names == {(FOLDER, "P/r/X.gguf"): Name.parse("p/x")}
    assert found.unsure == {}


def test_declared_models_stay_beside_those_that_are_found() -> None:
    assert names_of(discovered(look(scan("x.gguf")), wish=declares("y"))) == ["x", "y"]


def test_without_an_entry_nothing_changes() -> None:
    assert discovered(wish=declares("y")).desired == declares("y")


def test_globs_choose_the_files() -> None:
    files = scan("a/x-Q4_0.gguf", "a/x-Q8_0.gguf", "b/y-Q4_0.gguf")
    entry_ = discover(include=("*Q4_0.gguf",), exclude=("b",))
    assert names_of(discovered(look(files, entry_))) == ["x-q4_0"]


def test_a_second_file_of_a_name_gets_digits_of_its_path() -> None:
    found = discovered(look(scan("a/x.gguf", "b/x.gguf")))
    assert names_of(found) == ["x", f"x-{hex6('b/x.gguf')}"]


def test_a_name_once_given_stays_with_its_file() -> None:
    found = discovered(look(scan("a/x.gguf", "b/x.gguf")), names={"b/x.gguf": "x"})
    sources = {name.display: model.source for name, model in found.desired.models.items()}
    assert sources["x"] == FromFile(File(f"{FOLDER}/b/x.gguf"))
    assert set(sources) == {"x", f"x-{hex6('a/x.gguf')}"}
    assert found.desired.found.names.keys() == {(FOLDER, "a/x.gguf")}


def test_a_name_that_was_given_is_kept_though_the_template_is_another() -> None:
    entry_ = discover(name="local/{stem}")
    assert names_of(discovered(look(scan("x.gguf"), entry_), names={"x.gguf": "x"})) == ["x"]


def test_a_declared_model_hides_the_file_of_its_name() -> None:
    found = discovered(look(scan("x.gguf")), wish=declares("X"))
    assert names_of(found) == ["X"]
    what = "the file declares x itself; rename one of them, or exclude this one"
    assert notes_of(found) == {f"{FOLDER}/x.gguf": ("NameDeclared", what)}


def test_state_absent_hides_a_file_without_a_word() -> None:
    found = discovered(
        look(scan("x.gguf")), wish=declares("x", State.ABSENT), names={"x.gguf": "x"}
    )
    assert [model.state for model in found.desired.models.values()] == [State.ABSENT]
    assert notes_of(found) == {}


def test_a_declared_file_is_no_second_model() -> None:
    linked = entry("link.gguf", real_path="/elsewhere/x.gguf", hop="/elsewhere/x.gguf")
    declared = frozenset({f"{FOLDER}/a.gguf", "/elsewhere/x.gguf"})
    found = discovered(look(scan("a.gguf", linked, "b.gguf")), declared=declared)
    assert names_of(found) == ["b"]


def test_a_file_and_a_link_to_it_are_one_model() -> None:
    linked = entry("a.gguf", real_path=f"{FOLDER}/z.gguf", hop=f"{FOLDER}/z.gguf")
    found = discovered(look(scan(linked, "z.gguf")))
    assert names_of(found) == ["z"]


def test_a_folder_within_another_adds_nothing_twice() -> None:
    inner = replace(look(scan(entry("x.gguf", real_path=f"{FOLDER}/in/x.gguf"))), folder="/alias")
    found = discovered(look(scan("in/x.gguf")), inner)
    assert list(found.desired.found.names) == [(FOLDER, "in/x.gguf")]


@pytest.mark.parametrize("at", ["real_path", "hop"])
def test_files_of_the_store_and_links_to_its_blobs_are_skipped(at: str) -> None:
    blob = {"hop": "/x", at: f"{STORE}/blobs/sha256-00"}
    assert names_of(discovered(look(scan(entry("x.gguf", **blob))))) == []


def test_a_file_that_is_being_written_waits_and_is_told() -> None:
    found = discovered(look(scan(entry("x.gguf", mtime_ns=NOW_NS), "y.gguf.part")))
    assert names_of(found) == []
    assert notes_of(found) == {
        f"{FOLDER}/y.gguf.part": ("HalfWritten", "it is half-written"),
        f"{FOLDER}/x.gguf": ("StillWritten", "it is still being written"),
    }


def test_a_known_file_that_is_written_anew_stays() -> None:
    files = scan(entry("x.gguf", mtime_ns=NOW_NS))
    assert names_of(discovered(look(files), names={"x.gguf": "x"})) == ["x"]


def test_a_file_that_went_from_a_whole_folder_stays_desired_and_is_not_doubted() -> None:
    found = discovered(look(scan("y.gguf")), names={"x.gguf": "x"}, devices={FOLDER: DEVICE})
    assert names_of(found) == ["x", "y"]
    assert found.unsure == {}


def test_a_file_that_went_and_is_no_longer_meant_is_no_model() -> None:
    entry_ = discover(exclude=("x.gguf",))
    assert names_of(discovered(look(scan("y.gguf"), entry_), names={"x.gguf": "x"})) == ["y"]


def test_what_a_removed_entry_had_named_does_not_keep_names_from_others() -> None:
    other = replace(look(scan("x.gguf")), folder="/other")
    assert names_of(discovered(other, names={"old.gguf": "x"})) == ["x"]


@pytest.mark.parametrize(
    ("files", "devices", "reason"),
    [
        (GONE, {}, "FolderMissing"),
        (Unknown("FolderUnreadable", "no"), {}, "FolderUnreadable"),
        (scan(), {FOLDER: DEVICE}, "FolderEmpty"),
        (scan("readme.gguf.part"), {FOLDER: DEVICE}, "FolderEmpty"),
        (scan("other.gguf"), {FOLDER: 99}, "FolderElsewhere"),
        (scan("y.gguf", unread={"x.gguf": GONE}), {FOLDER: DEVICE}, "FolderMissing"),
    ],
)
def test_of_a_folder_that_is_not_whole_nothing_is_withdrawn(
    files: object, devices: dict[str, int], reason: str
) -> None:
    found = discovered(look(files), names={"x.gguf": "x"}, devices=devices)  # type: ignore[arg-type]
    assert "x" in names_of(found)
    assert found.unsure[f"{FOLDER}/x.gguf"].reason == reason


def test_nothing_new_is_taken_from_a_folder_that_is_another() -> None:
    found = discovered(look(scan("new.gguf")), names={"x.gguf": "x"}, devices={FOLDER: 99})
    assert names_of(found) == ["x"]
    assert found.desired.found.devices == {}
    what = f"{FOLDER} is on another device than before, and none of its models is there; mount it"
    assert notes_of(found) == {FOLDER: ("FolderElsewhere", what)}


def test_a_disk_with_another_number_is_known_by_its_files() -> None:
    found = discovered(look(scan("x.gguf", "y.gguf")), names={"x.gguf": "x"}, devices={FOLDER: 99})
    assert names_of(found) == ["x", "y"]
    assert found.desired.found.devices == {FOLDER: DEVICE}


def test_a_disk_below_the_folder_that_is_not_mounted_takes_nothing_away() -> None:
    names = {"disk/x.gguf": "x", "y.gguf": "y"}
    devices = {FOLDER: DEVICE, f"{FOLDER}/disk": 8}
    found = discovered(look(scan("y.gguf")), names=names, devices=devices)
    assert names_of(found) == ["x", "y"]
    assert found.unsure.keys() == {f"{FOLDER}/disk/x.gguf"}


def test_devices_are_recorded_once() -> None:
    mounted = {"": DEVICE, "disk": 8}
    first = discovered(look(scan("disk/x.gguf", devices=mounted)))
    assert first.desired.found.devices == {FOLDER: DEVICE, f"{FOLDER}/disk": 8}
    again = discovered(
        look(scan("disk/x.gguf", devices=mounted)),
        names={"disk/x.gguf": "x"},
        devices=first.desired.found.devices,
    )
    assert again.desired.found.devices == {}
    assert again.desired.found.names == {}


def test_a_missing_folder_that_nobody_named_is_not_told_of() -> None:
    told = {FOLDER: ("FolderMissing", GONE.message)}
    assert notes_of(discovered(look(GONE, assumed=True))) == {}
    assert notes_of(discovered(look(GONE))) == told
    assert notes_of(discovered(look(GONE, assumed=True), names={"x.gguf": "x"})) == told


def test_a_cached_file_keeps_its_name_over_revisions() -> None:
    key = "models--p--r/x.gguf"
    new = scan("models--p--r/snapshots/c1/x.gguf")
    found = discovered(look(new, discover("huggingface")), names={key: "kept"})
    (model,) = found.desired.models.values()
    assert model.name.display == "kept"
    assert model.source == FromFile(File(f"{FOLDER}/models--p--r/snapshots/c1/x.gguf"))


def test_links_to_folders_and_unreadable_ones_are_told() -> None:
    files = scan("x.gguf", folder_links=("big",), unread={"no": Unknown("FolderUnreadable", "no!")})
    what = "it is a link to a folder, which is not followed; name that folder in discover"
    assert notes_of(discovered(look(files))) == {
        f"{FOLDER}/no": ("FolderUnreadable", "no!"),
        f"{FOLDER}/big": ("FolderLink", what),
    }


def source(path: str, kind: Kind = "model", problem: Unknown | None = None) -> SourceFile:
    facts = None if problem else replace(facts_of(model_bytes()), kind=kind)
    return SourceFile(path, FileStat(1, 1, 1, 1, 1), None, facts, problem)


def facts_of(data: bytes) -> Facts:
    return facts(read_header(lambda offset, length: data[offset : offset + length], len(data)))


@pytest.mark.parametrize("kind", ["adapter", "projector", "imatrix", "draft"])
def test_a_new_file_that_is_no_model_is_left_out_and_told(kind: Kind) -> None:
    found = discovered(look(scan("x.gguf", "y.gguf"))).desired
    facts = {f"{FOLDER}/x.gguf": source("x", kind), f"{FOLDER}/y.gguf": source("y")}
    kept = without_others(found, facts)
    assert [name.display for name in kept.models] == ["y"]
    assert list(kept.found.names) == [(FOLDER, "y.gguf")]
    assert [note.reason for note in kept.found.notes] == ["NotAModel"]


def test_a_new_file_that_cannot_be_read_waits_and_a_known_one_stays() -> None:
    truncated = Unknown("Truncated", "truncated: download it again")
    facts = {f"{FOLDER}/x.gguf": source("x", problem=truncated)}
    new = without_others(discovered(look(scan("x.gguf"))).desired, facts)
    assert (new.models, new.found.names) == ({}, {})
    assert [(note.reason, note.message) for note in new.found.notes] == [
        ("Truncated", truncated.message)
    ]
    known = discovered(look(scan("x.gguf")), names={"x.gguf": "x"}).desired
    assert without_others(known, facts) == known


def test_a_declared_model_is_never_left_out() -> None:
    wish = declares("x")
    assert without_others(wish, {"/elsewhere.gguf": source("x", "adapter")}) == wish


def test_what_is_missing_from_a_folder_that_is_not_whole_is_unknown() -> None:
    there = source("there")
    facts: dict[str, SourceFact] = {
        "/gone": SourceMissing("gone"),
        "/there": there,
        "/other": SourceMissing("other"),
    }
    assert with_doubts(facts, {"/gone": GONE, "/there": GONE}) == {**facts, "/gone": GONE}
