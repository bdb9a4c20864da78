"""What the integration tests share: a user with a file, a GGUF and a server of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock_cli import User
from real import RealOllama
from tiny_models import chat_model


@pytest.fixture
def user(ollama: RealOllama, tmp_path: Path) -> User:
    """A user beside one private server with an empty store."""
    return User(tmp_path / "user", ollama)


@pytest.fixture
def tiny_user(user: User) -> User:
    """The same, and the GGUF is a tiny one."""
    user.gguf.write_bytes(chat_model())
    return user
