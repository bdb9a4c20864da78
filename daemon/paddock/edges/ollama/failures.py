"""What goes wrong on the way to Ollama, as our errors.

Translates once, at the edge: nobody above sees an error of aiohttp, httpx or the `ollama` package.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import AsyncIterator

import aiohttp

from paddock.errors import OllamaError, OllamaRefused, OllamaUnreachable, PaddockError

_TEXT_LENGTH = 400


@contextlib.asynccontextmanager
async def translated(url: str, what: str) -> AsyncIterator[None]:
    """Whatever fails inside becomes an OllamaError that says what was asked, and where."""
    try:
        yield
    except PaddockError:
        raise
    except (aiohttp.ClientConnectionError, ConnectionError) as error:
        raise unreachable(url, error) from error
    except TimeoutError as error:
        raise OllamaError(f"Ollama at {url} did not {what} in time", reason="Timeout") from error
    except aiohttp.ClientError as error:
        raise OllamaError(f"Ollama at {url} did not {what}: {error}") from error
    except Exception as error:
        translation = _of_client(url, what, error)
        if translation is None:
            raise
        raise translation from error


def unreachable(url: str, error: Exception) -> OllamaUnreachable:
    """Nobody answers."""
    what = f"Ollama does not answer at {url} ({_why(error)})"
    return OllamaUnreachable(f"{what}; start it, or set --ollama-host")


def one_line(text: str) -> str:
    """What a server said, on one line and not at length: it may be a page of HTML. The end is kept:
    Go's errors name the cause last."""
    words = " ".join(text.split())
    half = _TEXT_LENGTH // 2
    return words if len(words) <= _TEXT_LENGTH else f"{words[:half]} … {words[-half:]}"


def _why(error: BaseException) -> str:
    """The system's own words where it has some: asyncio and anyio put addresses in their place."""
    found: BaseException | None = error
    while found is not None:
        number = found.errno if isinstance(found, OSError) else None
        if number in errno.errorcode and number is not None:
            return os.strerror(number)
        found = found.__cause__ or found.__context__
    return one_line(str(error)) or type(error).__name__


def _of_client(url: str, what: str, error: Exception) -> OllamaError | None:
    """Errors of the `ollama` package and of httpx below it, only where those were loaded at all."""
    ollama, httpx = sys.modules.get("ollama"), sys.modules.get("httpx")
    if ollama is not None and isinstance(error, ollama.ResponseError):
        return _of_response(what, error.status_code, error.error)
    if httpx is not None and isinstance(error, httpx.TimeoutException):
        return OllamaError(f"Ollama at {url} did not {what} in time", reason="Timeout")
    if httpx is not None and isinstance(error, httpx.TransportError):
        return unreachable(url, error)
    return None


def _of_response(what: str, status: int, text: str) -> OllamaError:
    message = f"Ollama did not {what}: {one_line(text)}"
    if 400 <= status < 500 and status not in (408, 429):
        return OllamaRefused(message, status=status)
    return OllamaError(message)
