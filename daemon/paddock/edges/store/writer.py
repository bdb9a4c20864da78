"""The models folder: the only writer of `blobs/` and `manifests/`.

Every write is a temporary file under `.paddock/tmp`, fsync, rename, fsync of the folder: Ollama
walks `blobs/` and `manifests/` at start and trips over foreign names (ollama:server/images.go
PruneLayers). Never writes through a link, never removes a file that is not a link, a small blob
of ours or a blob whose content is not what its name says, never touches what a link points to.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from paddock.core.digest import Digest, digest_of
from paddock.core.manifest import parse_manifest
from paddock.core.names import Name
from paddock.edges.store.files import (
    check_may_write,
    explained,
    read_file,
    scan,
    sync_dir,
    user_name,
)
from paddock.edges.store.reader import StoreReader
from paddock.errors import InvalidManifest, Retry, StoreError

_FILE_MODE = 0o644
_DIR_MODE = 0o755
_GGUF = b"GGUF"
_TEMP_PREFIX = ".paddock-"


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
        _check_place(path)
        self._make_dirs(self.blobs_dir)
        self._replace(path, lambda temp: self._write_file(temp, content))

    def link_blob(self, digest: Digest, target: str) -> None:
        """Make the blob a link to an absolute path; a real file there is kept as it is."""
        path = self.blob_path(digest)
        if path.is_symlink() and str(path.readlink()) == target:
            # Renews the grace of Ollama's prune, which counts from the link's own mtime.
            os.utime(path, follow_symlinks=False)
            return
        if not path.is_symlink() and path.is_file():  # what a link leads to may hang
            return
        _check_place(path)
        self._check_target(target)
        self._make_dirs(self.blobs_dir)
        self._replace(path, lambda temp: self._make_link(temp, target))

    def _check_target(self, target: str) -> None:
        """A blob whose content is not what its name says may go at any time, and is no source."""
        if Path(target).parent == self.blobs_dir.resolve():
            what = f"{target} is a blob whose content is not what its name says"
            hint = "pull or create its model again"
            raise StoreError(f"{what}; {hint}", reason="BlobCorrupt", retry=Retry.STALLED)

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
        """Remove a blob; of a link the link only. It is no error when it is gone already.

        A GGUF that is a file stays: somebody put it there, for what is ours is a link or a text.
        """
        path = self.blob_path(digest)
        with explained(path), contextlib.suppress(FileNotFoundError):
            if not path.is_symlink() and read_file(path, len(_GGUF)) == _GGUF:
                return
            path.unlink()
            sync_dir(path.parent)

    def remove_corrupt_blob(self, digest: Digest) -> bool:
        """Remove a file of the store whose content is not what its name says, so that it is made
        anew; False for a link, and where the content is right after all. Reads the file whole."""
        path = self.blob_path(digest)
        if path.is_symlink():
            return False
        with explained(path), contextlib.suppress(FileNotFoundError):
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == digest[len("sha256:") :]:
                    return False
            path.unlink()
            sync_dir(path.parent)
        return True

    def remove_broken_manifest(self, name: Name) -> bool:
        """Remove a manifest that does not parse, which Ollama therefore cannot; False where it
        does, or where there is none."""
        content = self.manifest_bytes(name)
        if content is None or _parses(content):
            return False
        self.unlink_manifest(name)
        return True

    def unlink_manifest(self, name: Name) -> None:
        """Remove a manifest alone: every blob that it names stays, as with Ollama's own removal it
        would not."""
        path = self.manifest_path(name)
        with explained(path), contextlib.suppress(FileNotFoundError):
            path.unlink()
            sync_dir(path.parent)
        for folder in path.parents[:3]:
            with contextlib.suppress(OSError):  # not empty: another model lies there
                folder.rmdir()

    def remove_link(self, digest: Digest) -> None:
        """Remove a blob that is a link; one that is a file stays."""
        if self.blob_path(digest).is_symlink():
            self.remove_blob(digest)

    def make_state_dir(self) -> None:
        """Make `.paddock` and its folder for temporary files.

        Neither may be a link: what lies in them is removed, and given to the store's owner.
        """
        self._make_dirs(self._tmp_dir)
        for folder in (self.state_dir, self._tmp_dir):
            if folder.is_symlink():
                what = f"{folder} is a link; move it away, and a folder is made there"
                raise StoreError(what, reason="StoreBroken", retry=Retry.STALLED)
            check_may_write(folder)

    def clear_leftovers(self) -> None:
        """Remove the temporary files of a killed process; only under the lock."""
        ours = [entry for folder in self._trees for entry in scan(folder)]
        names = [entry for entry in ours if entry.name.startswith(_TEMP_PREFIX)]
        for leftover in (*scan(self._tmp_dir), *names):
            with contextlib.suppress(OSError):
                Path(leftover.path).unlink()

    def give_to_owner(self, path: Path) -> None:
        """Give a file of ours to the store's owner, where we are root and it is not."""
        if os.geteuid() != 0:
            return
        owner, found = self.root.stat(), path.lstat()
        if (found.st_uid, found.st_gid) != (owner.st_uid, owner.st_gid):
            with explained(path):
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)

    def _replace(self, path: Path, make: Callable[[Path], None]) -> None:
        temp = self._temp(path)
        with explained(path):
            try:
                make(temp)
                temp.replace(path)
            except BaseException:
                temp.unlink(missing_ok=True)
                raise
            sync_dir(path.parent)

    @property
    def _trees(self) -> tuple[Path, Path]:
        return self.blobs_dir, self.manifests_dir

    def _temp(self, path: Path) -> Path:
        """Where a file is made before it is renamed to `path`: beside the top of its tree where
        that is on a disk of its own. At that depth Ollama takes no dot file for a manifest, and it
        prunes one from `blobs/` an hour after a crash."""
        name = _TEMP_PREFIX + secrets.token_hex(8)
        for tree in self._trees:
            is_elsewhere = tree.stat().st_dev != self._tmp_dir.stat().st_dev
            if path.is_relative_to(tree) and is_elsewhere:
                return tree / name
        return self._tmp_dir / name

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


def _check_place(path: Path) -> None:
    """What is neither a file nor a link is nothing of Ollama's, and not ours to remove."""
    if os.path.lexists(path) and not path.is_symlink() and not path.is_file():
        what = f"{path} is neither a file nor a link, and a blob must be there; move it away"
        raise StoreError(what, reason="StoreBroken", retry=Retry.STALLED)


def _parses(content: bytes) -> bool:
    try:
        parse_manifest(content)
    except InvalidManifest:
        return False
    return True


def _has_content(path: Path, content: bytes) -> bool:
    try:
        limit_bytes = len(content) + 1
        return not path.is_symlink() and read_file(path, limit_bytes) == content
    except OSError:
        return False
