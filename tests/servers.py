"""A web server on this machine that misbehaves as it is told."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

import asr.data.download
import asr.data.shard_cache


class Server(ThreadingHTTPServer):
    """Serves `content(path)`, which is None for what is not there."""

    daemon_threads = True
    content: Callable[[str], bytes | None]
    drops = 0
    """How many more answers break off half-way."""
    unavailable = 0
    """How many more answers are 503."""
    ranges: list[str | None]
    """The `Range` of each request."""
    paths: list[str]
    """The path of each request."""

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        self.server.paths.append(self.path)
        content = self.server.content(unquote(self.path))
        if content is None:
            self.send_error(404, "Not Found")
            return
        if self.server.unavailable > 0:
            self.server.unavailable -= 1
            self.send_error(503)
            return
        start = 0
        if wanted and self.path != "/no-range":
            match = re.fullmatch(r"bytes=(\d+)-", wanted)
            assert match
            start = int(match[1])
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if self.server.drops > 0:
            self.server.drops -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)


@contextmanager
def serving(content: Callable[[str], bytes | None]) -> Iterator[Server]:
    """A running server; retries come quickly, and no proxy stands between."""
    with pytest.MonkeyPatch.context() as patch, Server(("127.0.0.1", 0), Handler) as running:
        for module in (asr.data.download, asr.data.shard_cache):
            patch.setattr(module, "BACKOFF_SECONDS", 0.01)
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            patch.delenv(name, raising=False)
        running.content, running.ranges, running.paths = content, [], []
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join()


def files_in(folder: Path) -> Callable[[str], bytes | None]:
    """Content for a server of the files in `folder`."""

    def content(path: str) -> bytes | None:
        file = folder / path.lstrip("/")
        return file.read_bytes() if file.is_file() else None

    return content
