"""Ollama that does not answer: commands say so and end; the daemon waits and converges later."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from paddock.edges.state import State
from paddock.errors import StoreError
from paddock_cli import SMOL, User


def _unreachable(host: str) -> str:
    what = f"Ollama does not answer at http://{host} (Connection refused)"
    return f"paddock: {what}; start it, or set --ollama-host\n"


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_plan_and_apply_end_with_11_and_one_line_that_names_the_address(
    user: User, command: str
) -> None:
    user.declare(SMOL)
    user.server.stop()
    assert user.paddock(command) == (11, "", _unreachable(user.server.host))


def test_the_ledger_is_not_closed_under_a_look_that_still_runs(tmp_path: Path) -> None:
    """A cycle ends at once when Ollama does not answer, its thread does not: SQLite crashed."""
    for attempt in range(20):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        state = State(folder, writable=True)
        looking = threading.Event()

        def look(state: State = state, looking: threading.Event = looking) -> str:
            while True:
                try:
                    state.ledger()
                except StoreError as error:
                    return error.reason
                looking.set()

        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(look)
            assert looking.wait(10)
            state.close()
            assert ended.result(10) == "Stopping"


def test_status_without_ollama_and_without_a_daemon_ends_with_11(user: User) -> None:
    user.declare(SMOL)
    user.server.stop()
    result = user.paddock("status")
    assert result.code == 11
    assert result.err.splitlines()[-1] + "\n" == _unreachable(user.server.host)


def test_json_tells_the_error_as_an_object(user: User) -> None:
    user.declare(SMOL)
    user.server.stop()
    result = user.paddock("plan", "-o", "json")
    assert result.code == 11
    assert result.json["error"]["reason"] == "OllamaUnreachable"
    assert result.json["error"]["exit_code"] == 11


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (404, "paddock: Ollama did not answer /api/version: 404 <html> hello </html>\n"),
        (
            200,
            "paddock: {} answers /api/version with something that is not JSON; is it an Ollama?\n",
        ),
    ],
)
def test_a_server_that_is_not_ollama_is_told_in_one_line(
    user: User, status: int, line: str
) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"<html>\n hello\n</html>\n")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Says nothing."""

    user.declare(SMOL)
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as other:
        thread = Thread(target=other.serve_forever, args=(0.05,))
        thread.start()
        host = f"127.0.0.1:{other.server_port}"
        result = user.paddock("plan", OLLAMA_HOST=host)
        other.shutdown()
        thread.join()
    assert result == (1, "", line.format(f"http://{host}"))


def test_run_waits_for_ollama_says_so_and_converges_when_it_comes(user: User) -> None:
    user.declare(SMOL)
    user.server.stop()
    with user.daemon() as daemon:
        daemon.wait(
            lambda: daemon.condition("OllamaReachable") == ("False", "OllamaUnreachable"),
            "status says that Ollama does not answer",
        )
        assert daemon.get("/readyz")[0] == 503
        result = user.paddock("status")
        assert result.code == 3, result
        assert f"Ollama does not answer at {user.server.url}" in result.out
        user.server.start()
        daemon.wait_ready()
        assert daemon.get("/readyz")[0] == 200
        assert list(user.server.tags()) == ["smol:latest"]
        assert user.paddock("status").code == 0
    waits = [line for line in daemon.log_text().splitlines() if "cycle failed" in line]
    assert len(waits) == 1, "it says so once, not at each try"


def test_run_survives_a_restart_of_ollama_and_loads_again(user: User) -> None:
    user.declare(f"{SMOL}    preload: true\n")
    with user.daemon() as daemon:
        daemon.wait_ready()
        user.server.stop()
        daemon.wait(lambda: not daemon.is_ready(), "it is seen that Ollama is gone")
        user.server.start()
        daemon.wait_ready()
        assert "smol:latest" in user.server.ps()


def test_a_models_folder_that_does_not_exist_is_told_in_one_line(user: User) -> None:
    user.declare(SMOL)
    models = user.folder / "nowhere"
    what = f"paddock: the models folder {models} does not exist"
    line = f"{what}; start Ollama once, or set --models-dir\n"
    for command in ("plan", "apply"):
        assert user.paddock(command, "--models-dir", models) == (1, "", line)
    assert not models.exists()
