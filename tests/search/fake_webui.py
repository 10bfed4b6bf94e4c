"""A server with the routes that the command line asks a WebUI for; its images score as ``problems.hill`` says."""

from __future__ import annotations

import base64
import json
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from problems import hill

from crdiff.search.strategies.point import Point

SHA256 = "3" * 64


class FakeWebUI:
    """What it was asked for, and how it behaves.

    Attributes:
        asked: (size, prompt, seed, point) of every image.
        seconds: an evaluation takes.
        sha256: of the selected checkpoint.
        message: an evaluation fails with; None if it does not.
        drop: how many of the next requests are cut off without an answer.
        password: ``user:password`` to ask for.
    """

    def __init__(self):
        self.asked = []
        self.bodies = []
        self.seconds = 0.0
        self.sha256 = SHA256
        self.family = "sd15"
        self.message = None
        self.drop = 0
        self.password = None
        self.url = ""
        self._jobs = {}
        self._lock = threading.Lock()

    def answer(self, method, path, body):
        if path.startswith("/crdiff/v1/checkpoint"):
            return 200, {"name": "fake: model", "sha256": self.sha256, "family": self.family, "problem": None}
        if path.startswith("/crdiff/v1/calibrate"):
            return 200, self._calibrated(method, body)
        if path == "/sdapi/v1/samplers":
            return 200, [{"name": "Euler a", "aliases": ["k_euler_a"]}, {"name": "DPM++ 2M", "aliases": []}]
        if path == "/crdiff/v1/scores":
            return 200, [{"name": "imagereward", "problem": "No weights."}, {"name": "own", "problem": None}]
        if method == "POST":
            if body["search"]["score"] == "beauty":
                return 422, {"detail": "There is no score 'beauty'."}
            name = str(len(self._jobs))
            self._jobs[name] = (time.monotonic() + self.seconds, self._measured(body))
            return 200, {"id": name}
        name = path.rsplit("/", 1)[1]
        if name not in self._jobs:
            return 404, {"detail": f"There is no search {name!r}."}
        end, done = self._jobs[name]
        if method == "DELETE":
            self._jobs[name] = (0.0, {**done, "state": "stopped"})
        elif time.monotonic() < end:
            return 200, {"state": "running"}
        return 200, self._jobs[name][1]

    def _calibrated(self, method, body):
        """Each time it is asked it has drawn one more image, until it is done or stopped."""
        if method == "POST":
            self.bodies.append(body)
            self._left = body["calibration"]["images"]
            return {"id": "one"}
        self._left -= 1
        state = "stopped" if method == "DELETE" else "running" if self._left > 0 else "done"
        return {"state": state, "message": f"{self._left} images left."}

    def _measured(self, body):
        search = body["search"]
        point = search["starts"][0]
        images = [(prompt, seed) for seed in search["seeds"] for prompt in search["prompts"]]
        with self._lock:
            self.bodies.append(body)
            self.asked += [(body["height"], body["width"], *image, tuple(point.values())) for image in images]
        if self.message is not None:
            return {"state": "failed", "message": self.message, "history": []}
        scores = [hill(Point(**{**point, "k": 1.5}), *image) for image in images]
        return {"state": "done", "message": "", "history": [{"scores": scores}]}


@contextmanager
def running():
    fake = FakeWebUI()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if fake.drop > 0:
                fake.drop -= 1
                self.close_connection = True
                return
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            wanted = fake.password and "Basic " + base64.b64encode(fake.password.encode()).decode()
            if wanted and self.headers.get("Authorization") != wanted:
                status, answer = 401, {"detail": "Incorrect username or password"}
            else:
                status, answer = fake.answer(self.command, self.path, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            with suppress(ConnectionError):  # the client was killed
                self.end_headers()
                self.wfile.write(content)

        do_POST = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
