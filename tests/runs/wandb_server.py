"""A server with the part of W&B's service that sending a run needs: login, run, history, files."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USER = {"id": "1", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}


class WandbServer(ThreadingHTTPServer):
    """Listens on a free port of this machine. ``rows`` are the received rows of history."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.rows: list[dict[str, Any]] = []

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _Answers(BaseHTTPRequestHandler):
    server: WandbServer

    def do_POST(self) -> None:
        raw = self._body()
        body = json.loads(raw) if self.path.endswith(("file_stream", "graphql")) else {}  # telemetry is not JSON
        if self.path.endswith("file_stream"):
            history = (body.get("files") or {}).get("wandb-history.jsonl", {})
            self.server.rows += map(json.loads, history.get("content", ()))
            self._say({})
        else:
            self._say({"data": self._data(body.get("query", ""), body.get("variables") or {})})

    def do_PUT(self) -> None:
        self._body()
        self._say({})

    def log_message(self, *_: Any) -> None:
        return None

    def _data(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if "upsertBucket" in query:
            project = {"id": "p", "name": variables.get("project") or "p", "entity": {"id": "e", "name": "me"}}
            run = {"id": "r", "name": variables.get("name"), "displayName": "run", "historyLineCount": 0}
            return {"upsertBucket": {"bucket": {**run, "project": project}, "inserted": True}}
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.server.url}/files"} for name in variables.get("files", ())]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        return {"viewer": USER, "serverInfo": {"features": []}} if "viewer" in query.lower() else {}

    def _body(self) -> bytes:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw

    def _say(self, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serve_wandb() -> Iterator[WandbServer]:
    server = WandbServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
