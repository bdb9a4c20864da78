"""Paddock's life under a real systemd: its start, its reload, its death and what comes after."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from provider import RealPaths
from registry import Programs
from system.hosts import GGUF, LOADED, MODELS_DIR, SMOLLM2, SOCKET, SPEC, Host

HUGE = "/srv/models/huge.gguf"
HUGE_MODEL = f"  huge:\n    source: {{gguf: {HUGE}}}\n"
START_S = 8
MISSING = "  missing:\n    source: {gguf: /srv/models/nowhere.gguf}\n"


def messages(host: Host, *matches: str) -> list[str]:
    """The messages of the journal that match."""
    return [str(record["MESSAGE"]) for record in host.bed.journal(*matches)]


def heard(host: Host, since: str) -> list[str]:
    """What Paddock told systemd, datagram by datagram, in its own words."""
    said = (
        re.search(r"Got notification message from PID \d+ \((.*)\)", m)
        for m in messages(host, since)
    )
    return [found[1] for found in said if found]


def start_heard(host: Host) -> str:
    """Has systemd log what it is told; gives where in the journal that begins."""
    since = host.bed.from_now()
    host.bed.systemctl("log-level", "debug")
    return since


def huge_gguf(host: Host, size: str) -> None:
    """A GGUF of that size, most of it a hole."""
    host.bed.run("cp", GGUF, HUGE)
    host.bed.run("truncate", f"--size={size}", HUGE)


def restarts(host: Host) -> int:
    return int(host.bed.show("paddock", "NRestarts"))


def test_the_start_ends_when_the_models_are_as_declared_and_not_before(host: Host) -> None:
    host.declare(LOADED)
    host.start()
    assert host.loaded() == ["smollm2:latest"]
    assert host.status_text == "1 model is as the file says"
    assert host.bed.show("paddock", "ActiveState") == "active"


def test_the_start_ends_too_when_a_model_cannot_be_made_and_says_so(host: Host) -> None:
    host.declare(SMOLLM2 + MISSING)
    host.start()
    assert host.ready()["smollm2"] == ("True", "AsDeclared")
    assert host.ready()["missing"][0] == "False"
    assert "1 of 2" in host.status_text


def test_the_start_ends_too_when_ollama_is_away_and_its_return_is_seen(host: Host) -> None:
    host.declare(SMOLLM2)
    with host.without_ollama():
        host.start()
        assert "Ollama" in host.status_text
        assert host.bed.show("paddock", "ActiveState") == "active"
    host.bed.wait(host.is_ready, "the model is there again")


def test_a_reload_takes_the_file_as_it_is_now_in_the_same_process(host: Host) -> None:
    host.declare(SMOLLM2)
    host.start()
    pid, since = host.pid, start_heard(host)
    host.declare(SMOLLM2 + "  again:\n    source: {model: smollm2}\n    system: Be brief.\n")
    host.bed.systemctl("reload", "paddock")
    host.bed.wait(lambda: "again:latest" in host.tags(), "the second model")
    host.bed.wait(lambda: any("READY=1" in text for text in heard(host, since)), "the reload ends")
    host.bed.systemctl("log-level", "info")
    told = heard(host, since)
    reloading = next(n for n, text in enumerate(told) if text.startswith("RELOADING=1"))
    assert re.fullmatch(r"RELOADING=1, MONOTONIC_USEC=\d+", told[reloading])
    assert any("READY=1" in text for text in told[reloading + 1 :])
    assert host.pid == pid
    assert host.bed.show("paddock", "ActiveState") == "active"


def test_a_reload_of_an_invalid_file_keeps_what_is_there_and_says_so(host: Host) -> None:
    host.declare(SMOLLM2)
    host.start()
    host.declare("  smollm2: {sauce: here}\n")
    host.bed.systemctl("reload", "paddock")
    host.bed.wait(lambda: SPEC in host.status_text, "systemctl status names the file")
    assert "smollm2:latest" in host.tags()
    assert host.bed.show("paddock", "ActiveState") == "active"


def test_a_hung_loop_is_killed_by_the_watchdog_and_the_next_one_converges(host: Host) -> None:
    host.set("WatchdogSec=2\nTimeoutAbortSec=5", "short")
    host.declare(LOADED)
    host.start()
    pid, since = host.pid, host.bed.from_now()
    host.bed.run("kill", "-STOP", str(pid))
    host.bed.wait(lambda: restarts(host) == 1, "systemd starts it again")
    host.bed.wait(lambda: host.bed.show("paddock", "ActiveState") == "active", "it is ready again")
    assert host.pid not in {0, pid}
    assert host.is_ready()
    assert host.loaded() == ["smollm2:latest"]
    said = messages(host, since)
    assert any("Watchdog timeout" in text for text in said)
    # The stack of where it hung is in the log.
    assert any("Fatal Python error: Aborted" in text for text in said)


def test_the_watchdog_lets_a_daemon_alone_whose_poll_is_longer_than_its_time(host: Host) -> None:
    host.set("WatchdogSec=2\nEnvironment=PADDOCK_POLL=600 PADDOCK_INTERVAL=600", "short")
    host.declare(SMOLLM2)
    host.start()
    since = start_heard(host)

    def fed() -> bool:
        return sum("WATCHDOG=1" in text for text in heard(host, since)) >= 4

    host.bed.wait(fed, "the watchdog was fed while no cycle ended")
    host.bed.systemctl("log-level", "info")
    assert restarts(host) == 0


def test_an_ollama_that_crashes_or_is_restarted_has_its_models_loaded_again(host: Host) -> None:
    host.declare(LOADED)
    host.start()
    pid, server = host.pid, host.bed.show("ollama", "MainPID")
    host.bed.systemctl("kill", "--signal=KILL", "ollama")
    host.bed.wait(
        lambda: (
            host.bed.show("ollama", "MainPID") not in {"0", server}
            and host.loaded() == ["smollm2:latest"]
        ),
        "the model is loaded in the new server",
    )
    assert host.pid == pid
    host.bed.systemctl("restart", "ollama")
    host.bed.wait(lambda: host.loaded() == ["smollm2:latest"], "it is loaded in the third")
    assert host.pid == pid
    assert host.bed.show("paddock", "ActiveState") == "active"


def stopped(host: Host) -> float:
    """Stops Paddock, which must end by itself with success; seconds that it took."""
    begin = time.monotonic()
    host.bed.systemctl("stop", "paddock.service")
    took_s = time.monotonic() - begin
    assert host.bed.show("paddock", "Result") == "success"
    assert host.bed.show("paddock", "ExecMainStatus") == "0"
    return took_s


def test_a_stop_in_the_middle_of_a_stream_tells_the_client_and_ends_in_time(host: Host) -> None:
    host.set("Environment=PADDOCK_DRAIN=0\nTimeoutStopSec=10", "short")
    host.declare(LOADED)
    host.start()
    lines = talk(host, "Write a very long story about a horse and a river.")
    next(lines)
    assert stopped(host) < 10
    last = [json.loads(line) for line in lines][-1]
    assert "stopping" in last["error"]


def talk(host: Host, prompt: str, num_predict: int = 4000) -> Any:
    """The lines of a long answer, as they come."""
    connection = host.bed.connection(SOCKET)
    body = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": prompt}],
        "options": {
            "num_predict": num_predict,
            "num_thread": 1,
            "temperature": 0,
            "repeat_penalty": 1,
        },
    }
    connection.request("POST", "/api/chat", json.dumps(body).encode())
    answer = connection.getresponse()
    assert answer.status == 200
    yield from answer
    connection.close()


def test_a_long_hash_extends_the_start_shows_how_far_it_is_and_ends_when_it_is_told_to(
    host: Host,
) -> None:
    huge_gguf(host, "500G")
    before = facts(host, [HUGE])
    host.set(f"TimeoutStartSec={START_S}\nTimeoutStopSec=10", "short")
    host.declare(HUGE_MODEL)
    since = start_heard(host)
    host.start("--no-block", "paddock.service")
    host.bed.wait(lambda: running_s(host) > START_S + 1, "the time is over that a start has")
    assert host.bed.show("paddock", "ActiveState") == "activating"
    assert restarts(host) == 0
    assert re.match(rf"hash {HUGE}: .* of 536\.9 GB", host.status_text)
    ends_in_mid_start(host, since)
    assert facts(host, [HUGE]) == before
    host.bed.run("rm", HUGE)


def test_a_long_pull_extends_the_start_shows_how_far_it_is_and_goes_on_at_the_next_one(
    registry_programs: Programs, host: Host, real: RealPaths
) -> None:
    size = real.gguf.stat().st_size
    rate = str(size // (2 * START_S))
    program = Path(__file__).with_name("shop.py")
    goods = real.ollama, real.version, real.gguf, rate
    with host.process(sys.executable, program, *goods) as shop:
        assert shop.stdin is not None
        assert shop.stdout is not None
        reference = shop.stdout.readline().strip()
        assert reference, "there is no shop"
        host.set(f"TimeoutStartSec={START_S}\nTimeoutStopSec=10", "short")
        host.declare(f'  pulled:\n    source: {{registry: "{reference}", insecure: true}}\n')
        since, before = start_heard(host), host.tags()
        host.start("--no-block", "paddock.service")
        host.bed.wait(lambda: running_s(host) > START_S + 1, "the time is over that a start has")
        assert host.bed.show("paddock", "ActiveState") == "activating"
        assert re.match(rf"pull {reference}: .* of 98\.4 MB", host.status_text)
        ends_in_mid_start(host, since)
        assert host.tags() == before
        shop.stdin.write("0\n")
        shop.stdin.flush()
        assert int(shop.stdout.readline()) > 0.2 * size
        host.start()
        assert host.ready()["pulled"] == ("True", "AsDeclared")
        shop.stdin.write("0\n")
        shop.stdin.flush()
        assert int(shop.stdout.readline()) < 1.15 * size, "what had come was not sent again"
        shop.stdin.close()
    host.bed.run("runuser", "-u", "ollama", "--", "/usr/local/bin/ollama", "rm", "pulled")


def ends_in_mid_start(host: Host, since: str) -> None:
    """Ends a start that asked for more time and was not over, and that in time."""
    assert stopped(host) < 10
    host.bed.systemctl("log-level", "info")
    told = heard(host, since)
    assert any("EXTEND_TIMEOUT_USEC=" in text for text in told)
    assert not any("READY=1" in text for text in told)


def running_s(host: Host) -> float:
    """For how long Paddock's process has run."""
    started_us = int(host.bed.show("paddock", "ExecMainStartTimestampMonotonic") or 0)
    return time.monotonic() - started_us / 1e6 if started_us else 0.0


def facts(host: Host, paths: Sequence[str]) -> str:
    return host.bed.run("stat", "--format=%n %s %a %U %Y %i", *paths).out


def test_a_start_while_the_models_folder_is_not_there_waits_for_ollama_to_make_it(
    host: Host,
) -> None:
    elsewhere = f"{MODELS_DIR}-later"
    host.declare(SMOLLM2)
    host.set(f"Environment=OLLAMA_MODELS={elsewhere}\nReadWritePaths=/usr/share/ollama", "short")
    host.start("--no-block", "paddock.service")
    waits = f"waits for Ollama to make {elsewhere}"
    host.bed.wait(lambda: host.status_text == waits, "systemctl status says what it waits for")
    host.bed.run("install", "-d", "-o", "ollama", "-g", "ollama", elsewhere)
    host.bed.wait(host.bed.path(SOCKET).is_socket, "it serves")
    host.bed.wait(lambda: "StoreMismatch" in str(host.ready()), "it looks at the new folder")
    host.bed.run("rm", "-rf", elsewhere)
