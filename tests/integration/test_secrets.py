"""What people say to models, what these answer, and tokens: in no log, whatever happens."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator

from hub_server import HubContent, HubServer, Repo
from paddock_cli import UnixConnection, User

PROMPT, TOKEN = "xylophonezebra", "hf_" + "S3cr3tOfThisTest" * 2
MODEL = "  smol:\n    source: {gguf: ./smol.gguf}\n    parameters: {num_predict: 8}\n"
GATED = "  gated:\n    source: {huggingface: some/repo, file: gated.gguf}\n"
MESSAGES = [{"role": "user", "content": PROMPT}]
CHAT = {"model": "smol", "messages": MESSAGES, "max_tokens": 8, "stream": False}
# Each is answered, refused or broken off in another place.
REQUESTS: list[tuple[str, object]] = [
    ("/api/chat", CHAT),
    ("/api/generate", {"model": "smol", "prompt": PROMPT, "stream": False}),
    ("/api/embed", {"model": "smol", "input": PROMPT}),
    ("/v1/chat/completions", CHAT),
    ("/v1/messages", CHAT),
    ("/api/chat", CHAT | {"model": PROMPT}),
    ("/api/chat", CHAT | {"options": {"num_ctx": PROMPT}}),
    ("/api/chat", CHAT | {"tools": PROMPT}),
    ("/api/chat", [PROMPT]),
    ("/api/chat", f'{{"model": "smol", "messages": "{PROMPT}'),
    ("/api/create", {"model": "mine", "system": PROMPT}),
    (f"/api/{PROMPT}", CHAT),
]


def test_no_prompt_answer_or_token_is_logged_or_told_though_all_of_it_fails(
    tiny_user: User,
) -> None:
    repo = Repo({"gated.gguf": HubContent(tiny_user.gguf)}, token="another")
    with HubServer({"some/repo": repo}) as hub:
        tiny_user.declare(MODEL + GATED)
        settings = {"PADDOCK_LOG_LEVEL": "debug", "HF_ENDPOINT": hub.url, "PADDOCK_HF_TOKEN": TOKEN}
        with tiny_user.daemon(**settings) as daemon:
            daemon.wait(lambda: "smol:latest" in tiny_user.server.tags(), "the model is made")
            daemon.wait(
                lambda: TOKEN in {asked.token for asked in hub.requests}, "the token is sent"
            )
            said = [text for path, body in REQUESTS for text in _words(tiny_user, path, body)]
            _break_off(tiny_user)
            tiny_user.server.kill()
            list(_words(tiny_user, "/api/chat", CHAT))
            told = [_get(tiny_user, path) for path in ("/paddock/status", "/metrics")]
            told += [_get(tiny_user, "/paddock/events?follow=0")]
    told.append(daemon.log_text())
    assert len(said) >= 2
    assert '"path": "/api/chat"' in told[-1]
    for secret in (PROMPT, TOKEN, *said):
        assert not [text for text in told if secret in text], secret


def _words(user: User, path: str, body: object) -> Iterator[str]:
    """What a model answers, where that is long enough to be known again."""
    with contextlib.closing(UnixConnection(user.socket)) as connection:
        connection.request("POST", path, body if isinstance(body, str) else json.dumps(body))
        answer = connection.getresponse()
        text = answer.read().decode()
        found = re.findall(r'"(?:content|response|text)":\s*"([^"\\]{4,})"', text)
        yield from found if answer.status == 200 else []


def _break_off(user: User) -> None:
    long = {"model": "smol", "prompt": PROMPT, "options": {"num_predict": 300}}
    with contextlib.closing(UnixConnection(user.socket)) as connection:
        connection.request("POST", "/api/generate", json.dumps(long))
        connection.getresponse().readline()


def _get(user: User, path: str) -> str:
    with contextlib.closing(UnixConnection(user.socket)) as connection:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
