"""A small Hub on 127.0.0.1, for the real huggingface_hub client."""

import base64
import hashlib
import http.server
import json
import re
import threading
import urllib.parse

WRITE_TOKEN = "hf_write"


class Repository:
    """Commits of files, and the branches and tags that name commits."""

    def __init__(self, gated=False):
        self.gated = gated
        self.commits = {}
        self.refs = {}
        self.commit("main", {})

    def commit(self, branch, files):
        before = self.commits.get(self.refs.get(branch), {})
        text = f"{len(self.commits)} {branch}"
        sha = hashlib.sha1(text.encode()).hexdigest()
        self.commits[sha] = {**before, **files}
        self.refs[branch] = sha
        return sha

    def resolve(self, revision):
        sha = self.refs.get(revision, revision)
        return sha if sha in self.commits else None


class LoopbackHub:
    """Serves `repositories`, a dictionary by "owner/name".

    `requests` are the "METHOD /path" so far. What goes wrong on purpose:
    `status` answers every request with it; files of `corrupt` are replaced;
    files of `shortened` arrive with a part of their bytes; files of
    `cut_once` lose the connection half-way, once; files of `dripping` come
    byte by byte; while `silent`, nothing is answered.
    """

    def __init__(self):
        self.repositories = {}
        self.requests = []
        self.blobs = {}
        self.status = None
        self.corrupt = {}
        self.shortened = set()
        self.cut_once = set()
        self.dripping = set()
        self.silent = False
        self.closed = threading.Event()

        class Handler(_Handler):
            hub = self

        self._server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), Handler
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    hub = None
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _answer(self, status, body=b"", headers=None):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        headers = {"Content-Length": str(len(body)), **(headers or {})}
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status, code):
        self._answer(status, headers={"X-Error-Code": code})

    def _route(self):
        path = urllib.parse.unquote(urllib.parse.urlparse(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if self.hub.silent:
            self.hub.closed.wait()
            self.close_connection = True
            return
        if self.hub.status is not None:
            self._answer(self.hub.status)
            return
        for command, pattern, method in self._ROUTES:
            if self.command in command and (
                match := re.fullmatch(pattern, path)
            ):
                method(self, *match.groups(), body=body)
                return
        self._answer(501)

    do_HEAD = do_GET = do_POST = do_PUT = _route

    def _repository(self, repo_id):
        repository = self.hub.repositories.get(repo_id)
        if repository is None:
            self._refuse(404, "RepoNotFound")
        return repository

    def _may_write(self):
        if self.headers.get("Authorization") == f"Bearer {WRITE_TOKEN}":
            return True
        self._answer(403, headers={"X-Error-Message": "Forbidden"})
        return False

    def _file(self, repo_id, revision, name, body):
        repository = self._repository(repo_id)
        if repository is None:
            return
        if repository.gated and "Authorization" not in self.headers:
            self._refuse(401, "GatedRepo")
            return
        sha = repository.resolve(revision)
        if sha is None:
            self._refuse(404, "RevisionNotFound")
            return
        content = repository.commits[sha].get(name)
        if content is None:
            self._answer(
                404,
                headers={
                    "X-Error-Code": "EntryNotFound",
                    "X-Repo-Commit": sha,
                },
            )
            return
        headers = {
            "X-Repo-Commit": sha,
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
        }
        if self.command == "GET":
            content = self.hub.corrupt.get(name, content)
            if name in self.hub.shortened:
                content = content[: len(content) // 2]
            if name in self.hub.dripping:
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                for byte in content:
                    if self.hub.closed.wait(0.02):
                        break
                    self.wfile.write(bytes([byte]))
                self.close_connection = True
                return
            if name in self.hub.cut_once:
                self.hub.cut_once.remove(name)
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2])
                self.close_connection = True
                return
            if match := re.match(
                r"bytes=(\d+)-", self.headers.get("Range", "")
            ):
                start = int(match[1])
                headers["Content-Range"] = (
                    f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
                self._answer(206, content[start:], headers)
                return
        self._answer(200, content, headers)

    def _create(self, body):
        if not self._may_write():
            return
        request = json.loads(body)
        repo_id = f"{request['organization']}/{request['name']}"
        status = 409 if repo_id in self.hub.repositories else 200
        self.hub.repositories.setdefault(repo_id, Repository())
        self._answer(status, {"url": f"{self.hub.url}/{repo_id}"})

    def _branch(self, repo_id, branch, body):
        repository = self._repository(repo_id)
        if repository is not None and self._may_write():
            repository.refs.setdefault(branch, repository.refs["main"])
            self._answer(200, {})

    def _validate_yaml(self, body):
        content = json.loads(body)["content"]
        front = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
        problems = [] if front else [{"message": "no front matter"}]
        self._answer(
            400 if problems else 200, {"errors": problems, "warnings": []}
        )

    def _preupload(self, repo_id, revision, body):
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs"
                if file["path"].endswith(".safetensors")
                else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
        self._answer(200, {"files": modes})

    def _lfs_batch(self, repo_id, body):
        objects = [
            {
                **item,
                "actions": {
                    "upload": {"href": f"{self.hub.url}/lfs/{item['oid']}"}
                },
            }
            for item in json.loads(body)["objects"]
        ]
        self._answer(200, {"transfer": "basic", "objects": objects})

    def _lfs_upload(self, oid, body):
        if hashlib.sha256(body).hexdigest() != oid:
            self._answer(400)
            return
        self.hub.blobs[oid] = body
        self._answer(200)

    def _commit(self, repo_id, revision, body):
        repository = self._repository(repo_id)
        if repository is None or not self._may_write():
            return
        files = {}
        for line in body.decode().splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
        sha = repository.commit(revision, files)
        url = f"{self.hub.url}/{repo_id}/commit/{sha}"
        self._answer(200, {"commitUrl": url, "commitOid": sha, "success": True})

    _ROUTES = (
        (("HEAD", "GET"), r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", _file),
        (("POST",), r"/api/repos/create", _create),
        (("POST",), r"/api/models/([^/]+/[^/]+)/branch/(.+)", _branch),
        (("POST",), r"/api/validate-yaml", _validate_yaml),
        (("POST",), r"/api/models/([^/]+/[^/]+)/preupload/(.+)", _preupload),
        (("POST",), r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", _lfs_batch),
        (("PUT",), r"/lfs/([0-9a-f]{64})", _lfs_upload),
        (("POST",), r"/api/models/([^/]+/[^/]+)/commit/(.+)", _commit),
    )
