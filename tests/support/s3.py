"""A local S3 server (moto) behind a proxy that injects faults."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

__all__ = ["FAULTS", "Proxy", "s3_server"]

FAULTS = ("503", "slow", "cut", "stale")
BUCKET = "bucket"


class Proxy(ThreadingHTTPServer):
    """Forwards requests to a server; every `every`-th one suffers a fault, the next none.

    "503": the server is busy. "slow": the answer takes a while. "cut": the connection breaks in the
    middle of the answer, after the request took effect. "stale": a listing is that of before.
    """

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target, self.fault, self.every = port, "", 3
        self.count = self.injected = 0
        self.listings: dict[str, tuple[int, Any, bytes]] = {}
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients of cut connections go away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def log_message(self, *args: Any) -> None: ...

    def _answer(self) -> None:
        proxy = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with proxy.lock:
            proxy.count += 1
            fault = proxy.fault if proxy.count % proxy.every == 0 else ""
            listing = self.command == "GET" and "list-type=2" in self.path
            if fault == "stale" and self.path not in proxy.listings:
                fault = ""
            proxy.injected += bool(fault)
        if fault == "503":
            self._send(503, [], b"<Error><Code>SlowDown</Code></Error>")
            return
        if fault == "slow":
            time.sleep(0.3)
        if fault == "stale":
            self._send(*proxy.listings[self.path])
            return
        status, headers, content = self._forward(body)
        if listing and proxy.fault == "stale":
            with proxy.lock:
                proxy.listings.setdefault(self.path, (status, headers, content))
        self._send(status, headers, content, cut=fault == "cut")

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _answer

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.target)
        headers = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.getheaders(), content

    def _send(self, status: int, headers: Any, content: bytes, cut: bool = False) -> None:
        self.send_response(status)
        length = str(len(content))
        for name, value in headers:
            if name.lower() == "content-length":
                length = value
            elif name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if cut:
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def s3_server() -> Iterator[Proxy]:
    """Run moto and the proxy, with an empty bucket; the environment points to them."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]
    reset = http.client.HTTPConnection("127.0.0.1", port)
    reset.request("POST", "/moto-api/reset")  # what an earlier server of this process held
    reset.getresponse().read()
    proxy = Proxy(port)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        for name in ("AWS_CA_BUNDLE", "AWS_PROFILE", "HTTP_PROXY", "http_proxy"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", proxy.url)
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        try:
            yield proxy
        finally:
            proxy.shutdown()
            proxy.server_close()
            server.stop()
