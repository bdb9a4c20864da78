"""Makes dist/: the wheel, the sdist and, on Debian, a .deb, the same bytes from the same commit.

The .deb has an environment of its own, /usr/lib/paddock, beside Debian's python3: the wheel, and
the packages of requirements.lock by their hashes. debian/ holds what is not made here. The version
is the one of daemon/paddock/__init__.py; all times are the commit's, or $SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from email.utils import formatdate
from pathlib import Path
from string import Template

ROOT = Path(__file__).resolve().parents[1]
DEBIAN = ROOT / "debian"
LOCK = ROOT / "requirements.lock"
PYTHON = "/usr/bin/python3"
HOME = "usr/lib/paddock"
SCRIPTS = ("postinst", "prerm", "postrm")
REVISION = 1
COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/paddock",
    "zsh": "usr/share/zsh/vendor-completions/_paddock",
    "fish": "usr/share/fish/vendor_completions.d/paddock.fish",
}
UNITS = {
    "paddock.service": "lib/systemd/system",
    "paddock.socket": "lib/systemd/system",
    "user/paddock.service": "usr/lib/systemd/user",
    "user/paddock.socket": "usr/lib/systemd/user",
}
# In these pip tells when, where and by what a package was installed.
UNTOLD = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")


def main() -> None:
    """Makes all of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="where they go")
    parser.add_argument("--cache", type=Path, help="a folder to keep locked packages in, unpacked")
    options = parser.parse_args()
    os.umask(0o022)
    os.environ["SOURCE_DATE_EPOCH"] = str(epoch())
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # pip runs in the environment that it fills
    options.dist.mkdir(parents=True, exist_ok=True)
    wheel = build_wheel(options.dist)
    if shutil.which("dpkg-deb") is None:
        sys.exit("no dpkg-deb here: a .deb is made on Debian")
    subprocess.run([ROOT / "scripts" / "apt-need", "python3"], check=True)
    with tempfile.TemporaryDirectory() as folder:
        build_deb(Path(folder, "tree"), wheel, options.dist, options.cache)


def epoch() -> int:
    """The time that everything in the packages has."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return int(given or output("git", "-C", str(ROOT), "log", "-1", "--format=%ct"))


def version() -> str:
    """Paddock's."""
    text = (ROOT / "daemon" / "paddock" / "__init__.py").read_text(encoding="utf-8")
    return text.partition('__version__ = "')[2].partition('"')[0]


def output(*command: str | Path) -> str:
    """What a command prints."""
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def build_wheel(dist: Path) -> Path:
    """The wheel and the sdist."""
    kinds = ("-t", "sdist", "-t", "wheel")
    build = [sys.executable, "-m", "hatchling", "build", *kinds, "-d", str(dist)]
    subprocess.run(build, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    wheel = dist / f"paddock-{version()}-py3-none-any.whl"
    print(dist / f"paddock-{version()}.tar.gz", wheel, sep="\n")
    return wheel


def build_deb(tree: Path, wheel: Path, dist: Path, cache: Path | None) -> None:
    """The .deb, of a tree that is made here."""
    home = tree / HOME
    environment(home, cache)
    install(home, wheel)
    untell(home)
    add_files(tree)
    add_documents(tree)
    add_control(tree)
    settle(tree)
    name = f"paddock_{version()}-{REVISION}_{architecture()}.deb"
    build = ["dpkg-deb", "--root-owner-group", "-Zxz", "-z1", "--threads-max=1", "--build"]
    subprocess.run([*build, tree, dist / name], stdout=subprocess.DEVNULL, check=True)
    print(dist / name)


def environment(home: Path, cache: Path | None) -> None:
    """A virtual environment for Debian's Python with the locked packages; from the cache, where
    they are there."""
    key = hashlib.sha256(f"{architecture()} {python_version()}".encode() + LOCK.read_bytes())
    kept = cache and cache / f"deb-{key.hexdigest()[:16]}"
    if kept and kept.is_dir():
        shutil.copytree(kept, home, symlinks=True)
        return
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "python3").symlink_to(PYTHON)
    config = (
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {python_version()}\n"
    )
    (home / "pyvenv.cfg").write_text(config)
    install(home, "--require-hashes", "--only-binary", ":all:", "-r", LOCK)
    if kept:
        keep(home, kept)


def keep(home: Path, kept: Path) -> None:
    """Copies an environment into the cache; another build may do so at the same time."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        new = Path(folder, kept.name)
        shutil.copytree(home, new, symlinks=True)
        with contextlib.suppress(OSError):
            new.rename(kept)


def install(home: Path, *what: str | Path) -> None:
    """Has pip install into an environment, and nothing of what that needs."""
    pip = (sys.executable, "-m", "pip", "--python", home / "bin" / "python3")
    options = ("-q", "--disable-pip-version-check", "--no-deps", "--no-compile")
    subprocess.run([*pip, "install", *options, *what], check=True)


def untell(home: Path) -> None:
    """Takes away what is dpkg's to tell, and programs and pages that have no place in here."""
    shutil.rmtree(home / "share")
    programs = [path for path in (home / "bin").iterdir() if path.name != "python3"]
    told = [path for path in home.rglob("*.dist-info/*") if path.name in UNTOLD]
    for path in (*programs, *told):
        path.unlink()


def python_version() -> str:
    """Debian's, such as 3.11."""
    return output(PYTHON, "-Ic", "import sys; print('%d.%d' % sys.version_info[:2], end='')")


def architecture() -> str:
    """What Debian calls this machine's kind."""
    return output("dpkg", "--print-architecture").strip()


def add_files(tree: Path) -> None:
    """The command, its completions and manual pages, and all that systemd reads."""
    put(tree / "usr/bin/paddock", (DEBIAN / "paddock").read_bytes())
    for shell, path in COMPLETIONS.items():
        python = tree / HOME / "bin" / "python3"
        script = output(python, "-IBm", "paddock", "completion", shell)
        put(tree / path, script.encode())
    for page in (ROOT / "man").iterdir():
        put(tree / f"usr/share/man/man{page.suffix[1:]}/{page.name}.gz", packed(page.read_bytes()))
    for name, folder in UNITS.items():
        unit = (ROOT / "systemd" / name).read_text(encoding="utf-8")
        unit = re.sub(r"^ExecStart=\S+", "ExecStart=/usr/bin/paddock", unit, flags=re.MULTILINE)
        put(tree / folder / Path(name).name, unit.encode())
    for kind in ("sysusers", "tmpfiles"):
        text = (ROOT / "systemd" / f"{kind}.conf").read_bytes()
        put(tree / f"usr/lib/{kind}.d/paddock.conf", text)


def add_documents(tree: Path) -> None:
    """What a person reads."""
    folder = tree / "usr/share/doc/paddock"
    for name in ("docs", "examples"):
        shutil.copytree(ROOT / name, folder / name)
    put(folder / "README.md", (ROOT / "README.md").read_bytes())
    put(folder / "copyright", (DEBIAN / "copyright").read_bytes())
    put(folder / "changelog.gz", packed((ROOT / "CHANGELOG.md").read_bytes()))
    entry = (
        f"paddock ({version()}-{REVISION}) stable; urgency=medium\n\n"
        f"  * Paddock {version()}: see changelog.gz.\n\n"
        f" -- The Paddock authors <paddock@localhost>  {formatdate(epoch())}\n"
    )
    put(folder / "changelog.Debian.gz", packed(entry.encode()))
    put(tree / "usr/share/lintian/overrides/paddock", (DEBIAN / "lintian-overrides").read_bytes())


def add_control(tree: Path) -> None:
    """What dpkg reads."""
    files = sorted(p for p in tree.rglob("*") if p.is_file() and not p.is_symlink())
    sums = (f"{hashlib.md5(p.read_bytes()).hexdigest()}  {p.relative_to(tree)}\n" for p in files)  # noqa: S324
    put(tree / "DEBIAN/md5sums", "".join(sums).encode())
    for name in SCRIPTS:
        put(tree / "DEBIAN" / name, (DEBIAN / name).read_bytes())
    major, minor = python_version().split(".")
    control = Template((DEBIAN / "control").read_text()).substitute(
        version=f"{version()}-{REVISION}",
        architecture=architecture(),
        size=sum(-(-p.stat().st_size // 1024) for p in files),
        python=f"{major}.{minor}",
        next_python=f"{major}.{int(minor) + 1}",
    )
    put(tree / "DEBIAN/control", control.encode())


def settle(tree: Path) -> None:
    """Gives everything the modes and the time that it has whoever makes it, and whenever."""
    programs = {tree / "usr/bin/paddock", *(tree / "DEBIAN" / name for name in SCRIPTS)}
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path in programs else 0o644)
        os.utime(path, (epoch(), epoch()), follow_symlinks=False)


def put(path: Path, data: bytes) -> None:
    """Writes a file, and the folders that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def packed(data: bytes) -> bytes:
    """Compressed, without a time."""
    return gzip.compress(data, mtime=0)


if __name__ == "__main__":
    main()
