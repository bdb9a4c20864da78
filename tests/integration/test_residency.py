"""Memory as the file says it, on a real Ollama: loaded once, pinned, let go, never fought over."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from paddock_cli import SMOL, User


def _left_s(user: User, name: str = "smol:latest") -> float:
    """The seconds that a model stays from now; 0 where it is not in memory."""
    running = user.server.ps().get(name)
    if running is None:
        return 0
    expires_at = datetime.fromisoformat(running["expires_at"][:19] + "+00:00")
    return (expires_at - datetime.now(UTC)).total_seconds()


@pytest.mark.parametrize(
    ("keys", "least_s", "most_s"),
    [
        ("preload: true, keep_alive: 7m", 400, 420),
        ("preload: true, keep_alive: 90", 80, 90),
        ('preload: true, keep_alive: "-1"', 1e9, 1e11),
        ("preload: true", 1e9, 1e11),
        ("preload: true, keep_alive: forever", 1e9, 1e11),
    ],
)
def test_a_preloaded_model_stays_as_long_as_the_file_says(
    user: User, keys: str, least_s: float, most_s: float
) -> None:
    user.declare(f"  smol: {{source: {{gguf: ./smol.gguf}}, {keys}}}\n")
    user.apply()
    assert least_s < _left_s(user) <= most_s
    assert user.apply().out.startswith("No changes.")


def test_keep_alive_alone_loads_nothing_and_is_asserted_on_use(user: User) -> None:
    user.declare(f"{SMOL}    keep_alive: 9m\n")
    with user.daemon() as daemon:
        daemon.wait_ready()
        assert user.server.ps() == {}
        user.server.generate("smol", "Hi")
        daemon.wait(lambda: _left_s(user) > 500, "it stays for nine minutes")


def test_keep_alive_0_lets_a_model_go_after_each_use(user: User) -> None:
    user.declare(f"{SMOL}    keep_alive: 0\n")
    with user.daemon() as daemon:
        daemon.wait_ready()
        user.server.generate("smol", "Hi", keep_alive="5m")
        daemon.wait(lambda: user.server.ps() == {}, "it is let go")


def test_a_model_without_keep_alive_is_left_to_its_clients(user: User) -> None:
    user.declare(SMOL)
    with user.daemon() as daemon:
        daemon.wait_ready()
        user.server.generate("smol", "Hi", keep_alive="3m")
        with user.server.recorded() as requests:
            asked = len(user.server.requests_log()) + 6
            daemon.wait(lambda: len(user.server.requests_log()) >= asked, "it has looked twice")
        assert not any(request.mutates for request in requests)
        assert 170 < _left_s(user) <= 180


def test_two_names_over_one_gguf_share_one_runner_and_one_pin(user: User) -> None:
    terse = "  terse:\n    source: {model: smol}\n    preload: true\n    system: Be terse.\n"
    user.declare(f"{SMOL}    preload: true\n{terse}")
    user.apply()
    assert len(user.server.ps()) == 1
    assert user.statuses() == {"smol": ("True", "AsDeclared"), "terse": ("True", "AsDeclared")}
    assert user.apply().out.startswith("No changes.")


def test_a_changed_file_of_a_pinned_model_leaves_no_runner_behind(user: User) -> None:
    user.declare(f"{SMOL}    preload: true\n")
    with user.daemon() as daemon:
        daemon.wait_ready()
        with user.gguf.open("r+b") as file:
            file.truncate(file.seek(0, 2) + 32)
        before = user.server.tags()["smol:latest"]["digest"]
        daemon.wait(lambda: user.server.tags()["smol:latest"]["digest"] != before, "it has moved")
        daemon.wait_ready()
        running = user.server.ps()
        assert list(running) == ["smol:latest"]
        assert running["smol:latest"]["digest"] == user.server.tags()["smol:latest"]["digest"]


def test_a_file_that_goes_and_comes_back_is_followed(user: User) -> None:
    user.declare(f"{SMOL}  other:\n    source: {{gguf: ./other.gguf}}\n")
    away = user.folder / "away.gguf"
    with user.daemon() as daemon:
        daemon.wait(lambda: user.statuses()["smol"][0] == "True", "smol is ready")
        assert user.statuses()["other"] == ("False", "SourceMissing")
        user.gguf.rename(away)
        daemon.wait(lambda: user.statuses()["smol"] == ("False", "SourceMissing"), "it is missed")
        away.rename(user.gguf)
        daemon.wait(lambda: user.statuses()["smol"][0] == "True", "smol is ready again")
    assert user.server.generate("smol", "Hi")["response"]
