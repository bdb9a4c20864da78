"""`adopt`: claim models that exist, and write those into models.yaml that it does not name.

The file comes first and the claim second: a model that is claimed and not named could be pruned.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddock.cli import views
from paddock.cli.daemon import ANSWER_S
from paddock.cli.options import settings_of
from paddock.core.export import Export, export
from paddock.core.names import Name
from paddock.edges.daemon_client import post_json
from paddock.edges.lock import read_holder
from paddock.edges.specfile import load_spec
from paddock.edges.specfile.edit import Edit, EditRefused, append_models
from paddock.edges.state import State
from paddock.edges.store import Store
from paddock.edges.store.reader import STATE_DIR
from paddock.engine.inventory import installed_names, take_inventory
from paddock.engine.world import open_ledger
from paddock.errors import LockedError, PaddockError, SettingsError, StoreError
from paddock.settings import Settings


@dataclass(frozen=True, slots=True)
class _Adoption:
    """What is to be done: names to claim, an edit for those that the file lacks, and what stays
    out, with the reason."""

    names: Sequence[Name]
    edit: Edit | None
    added: Mapping[str, Mapping[str, Any]]
    skipped: Mapping[str, str]


def adopt(options: argparse.Namespace) -> int:
    """Claim models that exist, so that the file may change and remove them."""
    if bool(options.names) == options.all:
        raise SettingsError("give names of models, or --all; see paddock adopt --help")
    settings = settings_of(options)
    store = Store(settings.models_path)
    store.check_writable()
    names = installed_names(store, options.names)
    try:
        adoption = _plan(settings, store, names, keep_all=bool(options.names))
        if not options.dry_run and adoption.edit is not None:
            adoption.edit.write()
    except EditRefused as error:
        return _refuse(error, options.output)
    if not options.dry_run:
        _claim(store, adoption.names)
    document = _document(adoption, settings, dry_run=options.dry_run)
    views.show(document, _text(document), options.output)
    return 0


def _plan(settings: Settings, store: Store, names: Sequence[Name], *, keep_all: bool) -> _Adoption:
    """With `keep_all` every name is one that somebody asked for by name: none is passed over."""
    spec = load_spec(settings.spec_path, os.environ).spec
    declared = {Name.parse(text).folded for text in spec.models}
    new = [name for name in names if name.folded not in declared]
    found = _exported(store, new) if new else Export({}, {}, {})
    if found.skipped and keep_all:
        text, why = next(iter(found.skipped.items()))
        raise StoreError(f"{text} cannot be in models.yaml: {why}", reason="NotAdoptable")
    edit = _edit(settings, found.models) if found.models else None
    claimed = [name for name in names if name.display not in found.skipped]
    return _Adoption(claimed, edit, found.models, found.skipped)


def _exported(store: Store, new: Sequence[Name]) -> Export:
    """What the file shall say of them. Not pinned: it goes on as if a person had written it."""
    state = State(store.state_dir, writable=False)
    try:
        known = installed_names(store, ())
        found = export(take_inventory(store, state), known, digests=False)
    finally:
        state.close()
    texts = {name.display for name in new}
    return Export(
        {text: model for text, model in found.models.items() if text in texts},
        {},
        {text: why for text, why in found.skipped.items() if text in texts},
    )


def _edit(settings: Settings, added: Mapping[str, Mapping[str, Any]]) -> Edit:
    """The edit of the file that the models are kept by."""
    mine = str(settings.spec_path.resolve())
    holder = read_holder(settings.models_path / STATE_DIR)
    if holder is not None and holder.socket is not None and holder.file != mine:
        what = f"{holder} keeps this store as {holder.file} says, not {mine}"
        raise LockedError(f"{what}; name that file with -f", holder=str(holder))
    return append_models(settings.spec_path, added, os.environ)


def _refuse(error: EditRefused, output: str) -> int:
    """Show what a person may paste; nothing was claimed."""
    what = f"{error.message}; nothing was claimed: paste the lines below models: and adopt again"
    told = {"reason": error.reason, "message": what, "exit_code": error.exit_code}
    document = {"format_version": 1, "error": told, "text": error.text}
    views.show(document, error.text.rstrip("\n"), output)
    if output == "text":
        views.note(f"paddock: {what}")
    return error.exit_code


def _claim(store: Store, names: Sequence[Name]) -> None:
    store.make_state_dir()
    # One transaction of the ledger: a running daemon sees it in its next cycle.
    state = open_ledger(store)
    try:
        state.adopt(names)
    finally:
        state.close()
    holder = read_holder(store.state_dir)
    if holder is not None and holder.socket is not None:
        with contextlib.suppress(PaddockError):  # it looks by itself, later
            post_json(Path(holder.socket), "/paddock/reconcile?wait=0", timeout_s=ANSWER_S)


def _document(adoption: _Adoption, settings: Settings, *, dry_run: bool) -> Mapping[str, Any]:
    edit = adoption.edit
    return {
        "format_version": 1,
        "dry_run": dry_run,
        "adopted": [name.display for name in adoption.names],
        "file": str(settings.spec_path if edit is None else edit.path),
        "added": list(adoption.added),
        "skipped": [{"name": name, "message": why} for name, why in adoption.skipped.items()],
        "diff": "" if edit is None else _diff(edit),
    }


def _diff(edit: Edit) -> str:
    before = (edit.before or b"").decode().splitlines(keepends=True)
    after = edit.after.decode().splitlines(keepends=True)
    source = "/dev/null" if edit.before is None else str(edit.path)
    lines = difflib.unified_diff(before, after, source, str(edit.path))
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _text(document: Mapping[str, Any]) -> str:
    done = "would be adopted" if document["dry_run"] else "adopted"
    lines = [
        f"{name}: {done}" + (f", added to {document['file']}" if name in document["added"] else "")
        for name in document["adopted"]
    ]
    lines += [f"{skip['name']}: left alone, {skip['message']}" for skip in document["skipped"]]
    diff = document["diff"].rstrip("\n") if document["dry_run"] else ""
    return "\n".join([*lines, *([diff] if diff else [])])
