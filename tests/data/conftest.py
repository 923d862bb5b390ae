import hashlib
import http.server
import os
import socket
import threading
from pathlib import Path

import pytest

from selectlib.data import _download


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty data folder."""
    monkeypatch.setenv("SELECTLIB_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def register(monkeypatch):
    """Put a file in the library's list of downloads."""

    def add(name, content, url="http://127.0.0.1:1/none"):
        sha256 = hashlib.sha256(content).hexdigest()
        monkeypatch.setitem(_download.FILES, name, _download.RemoteFile(url, sha256))
        return sha256

    return add


@pytest.fixture
def real_data(monkeypatch):
    """The folder with the real files: SELECTLIB_DATA, else the shared folder beside the checkout."""
    beside = Path(__file__).parents[3] / "shared" / "data"
    found = Path(os.environ.get("SELECTLIB_DATA") or beside)
    if not found.is_dir():
        # The readers are tested on small files of the same formats everywhere; these tests ask the published bytes.
        pytest.skip(f"the published files are not at {found}; set SELECTLIB_DATA to the folder that holds them")
    monkeypatch.setenv("SELECTLIB_DATA", str(found))
    return found


@pytest.fixture
def server(monkeypatch):
    """A web server on this machine; `server.answer` says what it sends, `server.paths` what was asked for."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.released.set()
        running.shutdown()
        thread.join()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/file"
        self.paths = []
        self.released = threading.Event()
        self.answer = lambda handler: handler.send_error(404)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.paths.append(self.path)
        self.server.answer(self)

    def send_body(self, body, length=None):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def cut(self):
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format, *args):
        """Say nothing: the tests look at what was sent."""
