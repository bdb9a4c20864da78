"""The .deb of this tree, and of a copy of it with another version."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from provider import ROOT

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "paddock", "packages")
RAISED = "9.9.9"
EPOCH = "1700000000"


def copied(folder: Path) -> Path:
    """What git knows of this tree, and what it would add, in another folder."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.split(
        b"\0"
    ):
        source = ROOT / os.fsdecode(name)
        if name and source.is_file():
            target = folder / os.fsdecode(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            if os.access(source, os.X_OK):
                target.chmod(target.stat().st_mode | 0o100)
    return folder


def raised(folder: Path) -> Path:
    """A copy whose version is RAISED, as CONTRIBUTING.md says that it is done."""
    root = copied(folder)
    init = root / "daemon" / "paddock" / "__init__.py"
    text = re.sub(r'__version__ = ".+"', f'__version__ = "{RAISED}"', init.read_text())
    init.write_text(text)
    pages = [sys.executable, root / "scripts" / "man_pages.py"]
    subprocess.run(pages, env=os.environ | {"PYTHONPATH": str(root / "daemon")}, check=True)
    return root


def packages(root: Path, dist: Path, *options: str | Path, **env: str) -> dict[str, Path]:
    """Makes the packages of a tree: wheel, sdist and .deb, by the ends of their names."""
    command = [sys.executable, root / "scripts" / "packages.py", "--dist", dist, *options]
    done = subprocess.run(
        command, env=os.environ | env, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return {path.suffix: path for path in map(Path, done.stdout.splitlines())}
