"""What export, verify and adopt print, word for word. `pytest --update-golden` writes it anew."""

from __future__ import annotations

from collections.abc import Callable

from paddock.cli.adopt import _text as adopt_text
from paddock.cli.verify import _text as verify_text
from paddock.core.digest import digest_of
from paddock.core.export import FilePlace, Installed, Inventory, Pull, export, export_head
from paddock.core.export import skipped_lines as skipped_text
from paddock.core.manifest import (
    LICENSE_TYPE,
    MODEL_TYPE,
    PARAMS_TYPE,
    SYSTEM_TYPE,
    TEMPLATE_TYPE,
    Descriptor,
    Manifest,
)
from paddock.core.names import Name
from paddock.core.observed import FileStat, Ledger, Owned
from paddock.core.spec_text import spec_text
from paddock.core.verify import Hashed, Reading, Subject, Unread, judge, report

Golden = Callable[[str, str], None]

TEXTS = {
    digest_of(content): (kind, content)
    for kind, content in [
        (TEMPLATE_TYPE, b"{{ if .System }}<s>{{ .System }}\n{{ end }}{{ .Prompt }}\n"),
        (SYSTEM_TYPE, b"Answer in one sentence."),
        (PARAMS_TYPE, b'{"temperature":0.2,"stop":["</s>","~"],"num_ctx":4096}\n'),
        (LICENSE_TYPE, b"A licence,\n\n  with a blank line at its end.\n\n"),
    ]
}
STAT = FileStat(1, 2, 98_000_000, 4, 5)


def _manifest(gguf: bytes, *kinds: str) -> Manifest:
    small = [(kind, digest, 9) for digest, (kind, _) in TEXTS.items() if kind in kinds]
    layers = [(MODEL_TYPE, digest_of(gguf), 98_000_000), *small]
    return Manifest(None, tuple(Descriptor(*layer) for layer in layers))


def test_an_export(golden: Golden) -> None:
    name = Name.parse("llama3.2:3b")
    pulled = _manifest(b"llama", TEMPLATE_TYPE)
    models = [
        Installed(name, pulled, Pull(name, digest_of(b"m"), pulled)),
        Installed(Name.parse("terse"), _manifest(b"llama", TEMPLATE_TYPE, SYSTEM_TYPE)),
        Installed(
            Name.parse("yes"), _manifest(b"gguf", *(k for k, _ in TEXTS.values())), None, (), True
        ),
    ]
    place = FilePlace(
        "/srv/models/My Model.gguf", "its file /srv/models/My Model.gguf is not there now"
    )
    skipped = {Name.parse("far"): "it runs at https://ollama.com, not here"}
    texts = {digest: content for digest, (_, content) in TEXTS.items()}
    inventory = Inventory(models, texts, {digest_of(b"gguf"): place}, {}, skipped)
    found = export(inventory, [*(model.name for model in models), *skipped])
    head = export_head(at="2026-01-01T12:00:00+00:00", host="box", version="0.34.4")
    tail = skipped_text(found.skipped)
    text = spec_text(found.models, comments=found.comments, head=head, tail=tail)
    golden("export.yaml.txt", text.removesuffix("\n"))


def test_a_verify(golden: Golden) -> None:
    smol, mine = Name.parse("smol"), Name.parse("mine:7b")
    ledger = Ledger(owned={smol: Owned()})
    one, two = digest_of(b"1"), digest_of(b"2")
    subjects = [
        Subject(one, "/models/blobs/sha256-1", "/srv/smol.gguf", 98_000_000, (smol,)),
        Subject(one, "/models/blobs/sha256-1", "/srv/smol.gguf", 98_000_000, (smol,)),
        Subject(two, "/models/blobs/sha256-2", None, 12, (mine, smol)),
        Subject(two, "/models/blobs/sha256-3", None, 0, ()),
    ]
    gone = Unread("the blob is not there", gone=True)
    readings: list[Reading] = [Hashed(one, STAT), Hashed(two, STAT), Hashed(one, STAT), gone]
    found = [judge(s, r, ledger, {}) for s, r in zip(subjects, readings, strict=True)]
    golden("verify.txt", verify_text({**report(found), "repaired": [found[1].to_json()]}))


def test_an_adopt_that_is_dry(golden: Golden) -> None:
    document = {
        "dry_run": True,
        "adopted": ["a", "b"],
        "file": "models.yaml",
        "added": ["b"],
        "skipped": [{"name": "far", "message": "it runs at https://ollama.com, not here"}],
        "diff": "--- models.yaml\n+++ models.yaml\n@@ -1 +1 @@\n+  b:\n",
    }
    golden("adopt-dry-run.txt", adopt_text(document))
