"""What Paddock can reach and what it tells under a real systemd: sandbox, credentials, journal."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from system.hosts import GGUF, LOADED, MODELS_DIR, SMOLLM2, UNITS, Host

HERE = Path(__file__).resolve().parent
TOKEN = "hf_" + "S3cr3tOfThisTest" * 2
PROMPT = "A prompt that nobody else shall ever read"


@pytest.fixture(scope="module")
def escape(module_host: Host) -> dict[str, str]:
    """What a program could do that ran exactly as Paddock's service does."""
    bed = module_host.bed
    bed.run("install", "-D", "-m", "0666", "/dev/null", "/home/alice/own.gguf")
    bed.run("chmod", "0777", "/home/alice", "/srv/models", "/etc/paddock")
    module_host.declare(SMOLLM2)
    bed.run("chmod", "0666", "/etc/paddock/models.yaml")
    bed.run(
        "install", "-m", "0644", UNITS / "paddock.service", "/run/systemd/system/escape.service"
    )
    program = f"ExecStart={sys.executable} {HERE / 'escape.py'}"
    drop_in = f"[Service]\nType=oneshot\nWatchdogSec=0\nRestart=no\nExecStart=\n{program}\n"
    bed.write("/run/systemd/system/escape.service.d/escape.conf", drop_in)
    bed.systemctl("daemon-reload")
    bed.systemctl("start", "escape.service")
    said = [str(record["MESSAGE"]) for record in bed.journal("-u", "escape")]
    found: dict[str, str] = json.loads(next(text for text in said if text.startswith("{")))
    return found


@pytest.mark.parametrize(
    "deed",
    [
        "write /home/alice/own.gguf",
        "make /home/alice/new",
        "make /srv/models/new",
        "write /etc/paddock/models.yaml",
        "make /etc/paddock/new",
        "make /usr/share/ollama/new",
        "make /var/tmp/../new",
        "make /proc/sys/kernel/new",
    ],
)
def test_a_file_that_permissions_would_let_it_write_is_read_only(
    escape: dict[str, str], deed: str
) -> None:
    assert escape[deed] in {"EROFS", "EACCES", "ENOENT"}, escape


@pytest.mark.parametrize(
    "deed", [f"make {MODELS_DIR}/new", "make /run/paddock/new", f"read {GGUF}"]
)
def test_what_it_is_for_it_can_do(escape: dict[str, str], deed: str) -> None:
    assert escape[deed] == "done"


@pytest.mark.parametrize(
    "deed",
    [
        "map memory that is written and executed",
        "open a raw socket",
        "unshare a namespace",
        "mount",
        "raise its priority",
        "see the processes of others",
        "become root",
        "open a disk",
    ],
)
def test_what_it_is_not_for_it_cannot_do(escape: dict[str, str], deed: str) -> None:
    assert escape[deed] != "done", escape


def test_a_file_elsewhere_that_another_user_keeps_is_linked_all_the_same(host: Host) -> None:
    host.bed.run("install", "-d", "-m", "0755", "-o", "alice", "/home/alice")
    host.bed.run("install", "-D", "-m", "0644", "-o", "alice", GGUF, "/home/alice/mine.gguf")
    before = host.bed.run("stat", "--format=%y %s %a %U", "/home/alice/mine.gguf").out
    host.declare("  mine:\n    source: {gguf: /home/alice/mine.gguf}\n")
    host.start()
    assert host.ready()["mine"] == ("True", "AsDeclared")
    assert host.bed.run("stat", "--format=%y %s %a %U", "/home/alice/mine.gguf").out == before
    host.bed.run("rm", "/home/alice/mine.gguf")


def test_a_second_start_is_refused_with_the_pid_of_the_first(host: Host) -> None:
    host.declare(SMOLLM2)
    host.start()
    environment = f"OLLAMA_MODELS={MODELS_DIR}", "PADDOCK_FILE=/etc/paddock/models.yaml"
    done = host.bed.run(
        "env", *environment, "PADDOCK_SOCKET=/tmp/other.sock", "/usr/local/bin/paddock", "run",
        user="ollama", code=12,
    )  # fmt: skip
    assert f"pid {host.pid}" in done.err
    assert host.is_ready()


def test_the_token_for_the_hub_comes_from_a_credential_and_goes_nowhere_else(host: Host) -> None:
    host.bed.write("/etc/credstore/hf-token", TOKEN + "\n", mode="0600")
    with host.process(sys.executable, HERE / "hub.py", TOKEN, GGUF) as hub:
        assert hub.stdout is not None
        url = hub.stdout.readline().strip()
        host.set(f"Environment=HF_ENDPOINT={url}", "hub")
        host.declare("  fetched:\n    source: {huggingface: some/repo, file: smollm2.gguf}\n")
        host.start()
        assert host.ready()["fetched"] == ("True", "AsDeclared")
        asked, _ = hub.communicate()
    assert f"HEAD /some/repo/resolve/main/smollm2.gguf {TOKEN}" in asked.splitlines()
    assert TOKEN not in host.bed.journal_text()
    assert TOKEN not in host.bed.systemctl("show", "paddock")


def test_the_journal_finds_what_was_done_to_a_model(host: Host) -> None:
    host.declare(SMOLLM2)
    host.start()
    since = host.bed.from_now()
    host.bed.run("find", f"{MODELS_DIR}/blobs", "-type", "l", "-delete")
    host.bed.wait(
        lambda: host.bed.journal(since, "-u", "paddock", "ACTION=LinkBlob"),
        "the link is made again",
    )
    host.bed.wait(host.is_ready, "the model is ready again")
    [record] = host.bed.journal(since, "-u", "paddock", "MODEL=smollm2", "ACTION=LinkBlob")
    assert record["PRIORITY"] == "6"
    assert record["SYSLOG_IDENTIFIER"] == "paddock"
    assert record["REASON"]
    assert record["_SYSTEMD_UNIT"] == "paddock.service"
    assert record["_TRANSPORT"] == "journal"
    assert record["MESSAGE"].startswith("link sha256:")
    assert "model=smollm2 action=LinkBlob" in record["MESSAGE"]


def test_a_problem_has_a_priority_of_its_own(host: Host) -> None:
    host.declare(SMOLLM2)
    host.start()
    since = host.bed.from_now()
    host.declare("  smollm2: {sauce: here}\n")
    host.bed.wait(
        lambda: host.bed.journal(since, "-u", "paddock", "-p", "err"), "an error is logged"
    )
    [record] = host.bed.journal(since, "-u", "paddock", "-p", "err")
    assert record["PRIORITY"] == "3"
    assert "models.yaml:3:" in record["PROBLEM"]


def test_a_cycle_that_changes_nothing_says_nothing_and_one_that_does_says_it_once(
    host: Host,
) -> None:
    host.declare(LOADED)
    host.start()
    since, before = host.bed.from_now(), cycles(host)
    host.bed.wait(lambda: cycles(host) >= before + 3, "three cycles")
    assert host.bed.journal(since, "-u", "paddock") == []
    host.bed.run("find", f"{MODELS_DIR}/blobs", "-type", "l", "-delete")
    host.bed.wait(lambda: host.bed.journal(since, "ACTION=LinkBlob"), "the link is made again")
    before = cycles(host)
    host.bed.wait(lambda: cycles(host) >= before + 2, "two more cycles")
    records = host.bed.journal(since, "-u", "paddock")
    done = [int(record["DONE"]) for record in records if "DONE" in record]
    assert 0 not in done
    assert sum(done) == sum("ACTION" in record for record in records)


def cycles(host: Host) -> int:
    """How many cycles have ended, by the metrics."""
    _, text = host.get("/metrics")
    line = next(
        x for x in text.splitlines() if x.startswith('paddock_reconciles_total{result="ok"}')
    )
    return int(float(line.split()[1]))


def test_prompts_and_answers_are_in_no_log_even_at_debug(host: Host) -> None:
    host.set("Environment=PADDOCK_LOG_LEVEL=debug", "debug")
    host.declare(SMOLLM2)
    host.start()
    body = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": PROMPT}],
        "stream": False,
        "options": {"num_predict": 4, "num_thread": 1},
    }
    status, answer = host.ask("POST", "/api/chat", body)
    assert status == 200
    host.bed.wait(lambda: host.bed.journal("PATH=/api/chat"), "the stream is logged, at debug")
    text = json.dumps(host.bed.journal("-u", "paddock"))
    assert PROMPT not in text
    assert answer["message"]["content"] not in text
