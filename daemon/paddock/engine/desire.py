"""Desire: models.yaml as it is now, parsed only when it has changed.

Compares contents, not times: a ConfigMap's times lie (kubernetes#24215). Reads, and writes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from paddock.core.desired import Desired
from paddock.core.resolve import resolve
from paddock.edges.specfile import load_spec
from paddock.errors import SpecError


class Desire:
    """One models.yaml, or a folder of them."""

    def __init__(
        self, path: Path, env: Mapping[str, str], doubt: Callable[[str], None] | None = None
    ):
        """`doubt` is told each warning, whenever the file was read anew."""
        self._doubt = doubt
        self.path = path
        self.files: tuple[Path, ...] = (path,)
        self._env = env
        self._print = ""
        self._outcome: Desired | SpecError | None = None

    def __call__(self) -> Desired:
        """What the file asks for. Raises SpecError, anew while the file stays invalid."""
        seen = self._fingerprint()
        # What made a file invalid may lie in one that is not known yet, such as a Modelfile.
        if not isinstance(self._outcome, Desired) or seen != self._print:
            self._outcome = self._read(seen)
            if self._doubt is not None and isinstance(self._outcome, Desired):
                for warning in self._outcome.warnings:
                    self._doubt(warning)
        if isinstance(self._outcome, SpecError):
            # A new one: an exception raised again and again keeps a longer and longer traceback.
            raise SpecError(self._outcome.diagnostics)
        return self._outcome

    def _read(self, seen: str) -> Desired | SpecError:
        """The file, with its print taken before it was read: a change since then is seen the next
        time. Where it names other files, they are read again once they are known."""
        files, outcome = self.files, self._load()
        if self.files != files:
            seen, outcome = self._fingerprint(), self._load()
        self._print = seen
        return outcome

    def _load(self) -> Desired | SpecError:
        try:
            loaded = load_spec(self.path, self._env)
        except SpecError as error:
            self.files = tuple(dict.fromkeys((self.path, *self.files)))
            return error
        self.files = loaded.files
        warnings = tuple(map(str, loaded.warnings))
        return resolve(loaded.spec, str(self.path), loaded.zone, warnings)

    def _fingerprint(self) -> str:
        hasher = hashlib.sha256()
        folder = sorted(self.path.glob("*.yaml")) if self.path.is_dir() else []
        for file in dict.fromkeys((*self.files, *folder)):
            hasher.update(f"{file}\0".encode())
            hasher.update(_content(file))
        return hasher.hexdigest()


def _content(file: Path) -> bytes:
    if not file.is_file():
        return b"\0"
    try:
        return file.read_bytes()
    except OSError:
        return b"\0\0"
