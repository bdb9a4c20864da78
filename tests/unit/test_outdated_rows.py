"""Which models are asked about, and what the answers of their registries mean."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from paddock.core.digest import Digest, digest_of
from paddock.core.manifest import NAME_MARK, Manifest, manifest_digests
from paddock.core.names import Name, scratch_name
from paddock.core.observed import Ledger, ManifestFile, Owned, Pulled
from paddock.core.outdated import (
    Candidate,
    Installed,
    Row,
    State,
    candidates,
    judge,
    none_was_asked,
    to_json,
)
from paddock.errors import PaddockError, SourceError
from worlds import desire

PLAIN = Manifest(None, ())
PULLED, MADE, LOOSE = Name.parse("pulled"), Name.parse("made"), Name.parse("loose")
OURS = Name.parse("ours")
OLD, NEW = digest_of(b"old"), digest_of(b"new")


def _file(content: bytes, manifest: Manifest = PLAIN) -> ManifestFile:
    return ManifestFile(digest_of(content), manifest_digests(content), manifest)


INSTALLED = Installed(
    manifests={
        PULLED: _file(b"old"),
        MADE: _file(b"made\n"),
        LOOSE: _file(b"loose"),
        OURS: _file(b"ours", replace(PLAIN, annotations={NAME_MARK: OURS.full})),
        scratch_name("0" * 16): _file(b"scratch"),
    },
    ledger=Ledger(pulled={PULLED: Pulled(OLD, PLAIN)}, owned={OURS: Owned(), PULLED: Owned()}),
    made_here=frozenset({MADE}),
)


def _names(declared: dict[str, Any], *named: str) -> list[str]:
    wanted = [Name.parse(text) for text in named]
    return [c.name.display for c in candidates(desire(declared).models, INSTALLED, wanted)]


def test_what_was_pulled_is_asked_about_and_what_was_made_here_is_not() -> None:
    assert _names({}) == ["loose", "pulled"]


def test_a_declared_model_stands_for_its_reference() -> None:
    declared = {"mine": {"source": {"registry": "pulled", "insecure": True}}}
    [loose, mine] = candidates(desire(declared).models, INSTALLED, [])
    assert (loose.name, loose.sure) == (LOOSE, False)
    assert (mine.name.display, mine.reference, mine.insecure) == ("mine", PULLED, True)


def test_what_is_declared_and_not_pulled_yet_is_not_asked_about() -> None:
    assert _names({"new": {"source": {"registry": "nowhere"}}}) == ["loose", "pulled"]


@pytest.mark.parametrize("named", ["mine", "pulled", "PULLED:latest"])
def test_a_name_restricts_by_model_and_by_reference(named: str) -> None:
    assert _names({"mine": {"source": {"registry": "pulled"}}}, named) == ["mine"]


def test_what_was_made_here_is_asked_about_by_name() -> None:
    [made] = candidates({}, INSTALLED, [MADE])
    assert (made.name, made.sure) == (MADE, True)


def test_a_name_that_is_not_installed_is_an_error() -> None:
    with pytest.raises(PaddockError, match="nowhere is not installed"):
        _names({}, "pulled", "nowhere")


def test_where_our_manifest_took_its_place_the_ledger_says_what_was_pulled() -> None:
    """A model with overrides under its own reference."""
    assert INSTALLED.digests(OURS) == ()
    ledger = replace(INSTALLED.ledger, pulled={OURS: Pulled(OLD, PLAIN)})
    assert replace(INSTALLED, ledger=ledger).digests(OURS) == (OLD,)


def _judged(answer: Digest | PaddockError, **more: Any) -> Row | None:
    return judge(Candidate(PULLED, PULLED, (OLD,), **more), answer)


def _trouble(reason: str) -> SourceError:
    return SourceError("why", reason=reason)


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (OLD, "current"),
        (NEW, "outdated"),
        (_trouble("NotInRegistry"), "gone"),
        (_trouble("NeedsCredentials"), "needs credentials"),
        (_trouble("RegistryFailed"), "unreachable"),
        (_trouble("InsecureRegistry"), "unreachable"),
    ],
)
def test_each_answer_has_its_state(answer: Digest | PaddockError, state: State) -> None:
    row = _judged(answer)
    assert row is not None
    assert row.state == state
    assert (row.registry is None) is isinstance(answer, PaddockError)


def test_a_manifest_with_a_newline_is_known_by_both_its_digests() -> None:
    both = _file(b"old\n")
    installed = replace(INSTALLED, manifests={PULLED: both}, made_here=frozenset())
    [pulled] = candidates({}, installed, [])
    for digest in both.digests:
        row = judge(pulled, digest)
        assert row is not None
        assert row.state == "current"


def test_a_model_that_nobody_said_was_pulled_is_not_called_gone() -> None:
    assert _judged(_trouble("NotInRegistry"), sure=False) is None
    assert _judged(NEW, sure=False) is not None


def test_it_fails_only_where_there_was_something_to_ask_and_nobody_answered() -> None:
    gone, away = _judged(_trouble("NotInRegistry")), _judged(_trouble("RegistryFailed"))
    assert gone is not None
    assert away is not None
    assert not none_was_asked([])
    assert not none_was_asked([gone, away])
    assert none_was_asked([away, away])


def test_the_json_counts_the_states() -> None:
    rows = [row for row in (_judged(OLD), _judged(NEW)) if row is not None]
    told = to_json(rows)
    assert told["format_version"] == 1
    assert told["summary"] == {
        "current": 1,
        "outdated": 1,
        "gone": 0,
        "needs_credentials": 0,
        "unreachable": 0,
    }
