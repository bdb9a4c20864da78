"""What cannot be watched is polled and said so; what does not answer keeps nothing else waiting.

The kernel's own limit of watches and a file system that hangs for real, both in a user namespace of
the daemon's own.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from at_rest import NO_POLL
from gguf_files import model_bytes
from hung import hung, within
from paddock_cli import SMOL, Daemon, User, readiness

LIMIT = 'echo "$1" > /proc/sys/user/max_inotify_watches || exit 1; shift; exec "$@"'


def _more(name: str) -> str:
    return f"  {name}:\n    state: absent\n"


def test_without_watches_the_poll_sees_all_and_status_says_so(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.declare(SMOL)
    with monkeypatch.context() as patch:
        within(patch, "sh", "-c", LIMIT, "sh", "0")
        daemon = user.daemon()
        daemon.start()
    try:
        daemon.wait_ready()
        daemon.wait(lambda: "Watched" in _kinds(daemon), "it is told")
        assert daemon.condition("Watched") == ("False", "Polled")
        shown = user.paddock("status")
        assert shown.code == 0, "it is as the file says all the same"
        assert "not watched: changes are seen at a poll, not at once: " in shown.out
        assert str(user.folder.resolve()) in shown.out
        assert "raise fs.inotify.max_user_watches" in shown.out
        user.declare(SMOL + _more("gone"))
        daemon.wait(lambda: "gone" in readiness(daemon.status()), "an edit is seen at a poll")
        lines = [line for line in daemon.log_text().splitlines() if '"not watched"' in line]
        told = [json.loads(line)["path"] for line in lines]
        assert len(told) == len(set(told)) > 1, "once for the file, once for the blobs"
    finally:
        assert daemon.stop() == 0


def _kinds(daemon: Daemon) -> set[str]:
    return {condition["type"] for condition in daemon.status()["conditions"]}


def _threads(daemon: Daemon) -> int:
    return len(list(Path(f"/proc/{daemon.pid}/task").iterdir()))


def test_a_file_system_that_hangs_keeps_no_other_model_waiting(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    nas = user.folder / "nas"
    nas.mkdir()
    (user.folder / "far.gguf").symlink_to("nas/deep/far.gguf")
    far = "  far:\n    source: {gguf: ./far.gguf}\n  farther:\n    source: {gguf: ./nas/b.gguf}\n"
    user.declare(SMOL + far)
    with monkeypatch.context() as patch:
        within(patch, *hung("silent", nas))
        daemon = user.daemon(**NO_POLL)
        daemon.start()
    try:
        daemon.wait(lambda: readiness(daemon.status())["smol"][0] == "True", "one is ready")
        told = readiness(daemon.status())
        assert told["far"] == told["farther"] == ("False", "SourceTimeout")
        assert daemon.condition("Watched") == ("False", "Polled")
        threads = _threads(daemon)
        for name in ("one", "two", "three"):
            user.declare(SMOL + far + _more(name))
            daemon.wait(lambda name=name: name in readiness(daemon.status()), "it goes on")  # type: ignore[misc]
        assert _threads(daemon) <= threads + 2, "one look hangs, and no others behind it"
        link = next((user.server.models_dir / "blobs").glob("sha256-*"))
        assert link.exists()
    finally:
        assert daemon.stop() == 0, "it ends, though a look has not"


def test_a_model_whose_file_system_begins_to_hang_is_left_as_it_is(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its link stands, its manifest stands: nothing is known against them."""
    nas = user.folder / "nas"
    nas.mkdir()
    user.gguf.rename(nas / "smol.gguf")
    far = "  far:\n    source: {gguf: ./nas/smol.gguf}\n"
    user.declare(far)
    user.apply()
    user.gguf.write_bytes(model_bytes())
    user.declare(far + SMOL)
    with monkeypatch.context() as patch:
        within(patch, *hung("silent", nas))
        daemon = user.daemon(**NO_POLL)
        daemon.start()
    try:
        daemon.wait(lambda: readiness(daemon.status())["smol"][0] == "True", "the other is made")
        assert readiness(daemon.status())["far"] == ("False", "SourceTimeout")
        assert set(user.server.tags()) == {"far:latest", "smol:latest"}
    finally:
        assert daemon.stop() == 0
