"""What a load gives: a valid spec, where it came from, and what it was found to say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path

from paddock.core.digest import Digest
from paddock.core.spec import Spec
from paddock.errors import Diagnostic


@dataclass(frozen=True, slots=True)
class LoadedSpec:
    """A valid spec and where it came from.

    Paths in `spec` are absolute (links and `..` are as written), and each `template_file` was read
    into `template`. What a Modelfile says is in its model: no ModelfileSource is left. `files` are
    all that were read, for watching; `digest` is of their bytes. `zone` is the one that it names,
    or the host's; `warnings` are what is valid and hardly meant.
    """

    spec: Spec
    path: Path
    files: tuple[Path, ...]
    base_dirs: Mapping[str, Path]
    digest: Digest
    zone: tzinfo
    warnings: tuple[Diagnostic, ...] = ()
