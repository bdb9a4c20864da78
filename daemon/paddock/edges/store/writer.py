"""The models folder: the only writer of `blobs/` and `manifests/`.

Every write is a temporary file under `.paddock/tmp`, fsync, rename, fsync of the folder: Ollama
walks `blobs/` and `manifests/` at start and trips over foreign names (ollama:server/images.go
PruneLayers). Never writes through a link, never removes a file that is not a link or a small blob
of ours, never touches what a link points to.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from paddock.core.digest import Digest, digest_of
from paddock.core.names import Name
from paddock.edges.store.files import explained, scan, sync_dir, user_name
from paddock.edges.store.reader import StoreReader
from paddock.errors import Retry, StoreError

_FILE_MODE = 0o644
_DIR_MODE = 0o755


class Store(StoreReader):
    """One models folder (`OLLAMA_MODELS`), to be read and written."""

    def __init__(self, root: Path):
        super().__init__(root)
        self._tmp_dir = self.state_dir / "tmp"

    def check_writable(self) -> None:
        """Raise StoreError unless we may write as the store's owner.

        As root over another's store, each new file and folder is given to that owner.
        """
        self.check_exists()
        owner, me = self.root.stat().st_uid, os.geteuid()
        if me not in (0, owner):
            user = user_name(owner)
            what = f"the models folder {self.root} belongs to {user}, and we are {user_name(me)}"
            hint = f"run it as that user: sudo -u {user} paddock …"
            raise StoreError(f"{what}; {hint}", reason="NotOwner", retry=Retry.STALLED)

    def write_blob(self, digest: Digest, content: bytes) -> None:
        """Put a small blob in place, unless it is there with this very content."""
        if digest_of(content) != digest:
            raise StoreError(f"content does not hash to {digest}", reason="DigestMismatch")
        path = self.blob_path(digest)
        if _has_content(path, content):
            return
        self._make_dirs(self.blobs_dir)
        self._replace(path, lambda temp: self._write_file(temp, content))

    def link_blob(self, digest: Digest, target: str) -> None:
        """Make the blob a link to an absolute path; a real file there is kept as it is."""
        path = self.blob_path(digest)
        if path.is_symlink() and str(path.readlink()) == target:
            # Renews the grace of Ollama's prune, which counts from the link's own mtime.
            os.utime(path, follow_symlinks=False)
            return
        if path.exists() and not path.is_symlink():
            return
        self._make_dirs(self.blobs_dir)
        self._replace(path, lambda temp: self._make_link(temp, target))

    def write_manifest(self, name: Name, content: bytes, needs: frozenset[Digest]) -> None:
        """Publish a manifest, only while every blob that it names is there."""
        for digest in sorted(needs):
            if not self.has_blob(digest):
                what = f"{name} needs {digest}, which is missing or broken"
                raise StoreError(what, reason="BlobsMissing")
        path = self.manifest_path(name)
        for attempt in range(3):
            self._make_dirs(path.parent)
            try:
                self._replace(path, lambda temp: self._write_file(temp, content))
                return
            except FileNotFoundError:
                # Ollama removes empty folders at start, between our mkdir and our rename.
                if attempt == 2:
                    raise

    def remove_blob(self, digest: Digest) -> None:
        """Remove a blob; of a link the link only. It is no error when it is gone already."""
        path = self.blob_path(digest)
        with explained(path), contextlib.suppress(FileNotFoundError):
            path.unlink()
            sync_dir(path.parent)

    def remove_link(self, digest: Digest) -> None:
        """Remove a blob that is a link; one that is a file stays."""
        if self.blob_path(digest).is_symlink():
            self.remove_blob(digest)

    def make_state_dir(self) -> None:
        """Make `.paddock` and its folder for temporary files."""
        self._make_dirs(self._tmp_dir)

    def clear_leftovers(self) -> None:
        """Remove the temporary files of a killed process; only under the lock."""
        for leftover in scan(self._tmp_dir):
            with contextlib.suppress(OSError):
                Path(leftover.path).unlink()

    def give_to_owner(self, path: Path) -> None:
        """Give a file of ours to the store's owner, where we are root and it is not."""
        if os.geteuid() == 0:
            owner = self.root.stat()
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)

    def _replace(self, path: Path, make: Callable[[Path], None]) -> None:
        temp = self._tmp_dir / secrets.token_hex(8)
        with explained(path):
            try:
                make(temp)
                temp.replace(path)
            except BaseException:
                temp.unlink(missing_ok=True)
                raise
            sync_dir(path.parent)

    def _write_file(self, temp: Path, content: bytes) -> None:
        with temp.open("xb") as file:
            os.fchmod(file.fileno(), _FILE_MODE)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self.give_to_owner(temp)

    def _make_link(self, temp: Path, target: str) -> None:
        temp.symlink_to(target)
        self.give_to_owner(temp)

    def _make_dirs(self, path: Path) -> None:
        """Each missing folder below the root, with Ollama's mode and owner."""
        missing = [p for p in (path, *path.parents) if p.is_relative_to(self.root)]
        for folder in reversed(missing):
            with explained(folder):
                try:
                    folder.mkdir()
                except FileExistsError:
                    continue
                folder.chmod(_DIR_MODE)
                self.give_to_owner(folder)
                sync_dir(folder.parent)


def _has_content(path: Path, content: bytes) -> bool:
    try:
        return not path.is_symlink() and path.read_bytes() == content
    except OSError:
        return False
