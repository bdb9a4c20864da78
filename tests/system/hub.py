"""hub.py TOKEN GGUF: a hub inside a bed, until stdin ends; then prints what it was asked."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hub_server import HubContent, HubServer, Repo


def main() -> None:
    token, gguf = sys.argv[1:]
    repo = Repo({"smollm2.gguf": HubContent(Path(gguf))}, token=token)
    with HubServer({"some/repo": repo}) as hub:
        print(hub.url, flush=True)
        sys.stdin.read()
        for asked in hub.requests:
            print(asked.method, asked.path, asked.token)


if __name__ == "__main__":
    main()
