"""A server that runs as nobody, as the service's own user does, and commands run as nobody.

Needs root and setpriv; without them the tests that ask for it are skipped, and say why.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from provider import RealPaths
from real import RealOllama

NOBODY = pwd.getpwnam("nobody")


def prefix_of_nobody() -> list[str]:
    """The beginning of a command that runs the rest as nobody."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root may run a command as another user, with setpriv")
    uid, gid = str(NOBODY.pw_uid), str(NOBODY.pw_gid)
    return ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]


@contextlib.contextmanager
def serving_as_nobody(real: RealPaths) -> Iterator[RealOllama]:
    """A server of nobody's, with a store of theirs, in a folder that everybody may look into."""
    prefix = prefix_of_nobody()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # those of pytest are closed to others
        program = folder / "ollama"
        shutil.copy2(real.ollama, program)  # its own place may be closed to others
        start = folder / "start"
        start.write_text(f'#!/bin/sh\nexec {shlex.join(prefix)} {program} "$@"\n')
        start.chmod(0o755)
        for part in ("models", "home"):
            (folder / part).mkdir()
            os.chown(folder / part, NOBODY.pw_uid, NOBODY.pw_gid)
        with RealOllama(real._replace(ollama=start), folder) as server:
            yield server
