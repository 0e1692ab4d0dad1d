"""A stand-in for the Hub, for tests: a local server that an unmodified `huggingface_hub` client can talk to.

It is not the Hub. It speaks the part of its HTTP protocol that the client's source shows, for repositories of every
type: who am I, create, delete and look at a repository, preupload, LFS batch and upload, commit, tree, branches and
tags, resolve with revisions and ranges. It has no Xet storage (clients are to be told so: `HF_HUB_DISABLE_XET`), keeps
everything in memory, serves LFS files itself where the Hub redirects, and knows users only by the tokens it is given.

    with HubServer() as hub:
        hub.point_client(monkeypatch, tmp_path / "cache")        # this process
        subprocess.run([…], env=hub.environment(tmp_path))       # another one
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hub_storage import Repository, StoredFile

TOKEN, STRANGER = "hf_owner", "hf_stranger"
OWNER, LAB = "alice", "lab"
CREATED = "2024-01-01T00:00:00.000Z"
# What the Hub's own .gitattributes sends to LFS whatever its size, as far as these tests come across it.
LFS_ENDINGS = (".arrow", ".bin", ".onnx", ".parquet", ".png", ".pth", ".safetensors", ".zip")
# A few of the licences that the Hub takes in a card; it has a list of some hundred.
LICENCES = ("apache-2.0", "cc-by-4.0", "cc-by-nc-4.0", "mit", "other")
REGULAR_LIMIT = 10 * 2**20
_PREFIXES = {"models": "", "datasets": "datasets/", "spaces": "spaces/"}


class HubServer:
    """The stand-in, listening on a port of its own on 127.0.0.1 while used as a context.

    Attributes:
        users: Token to (name, organisations).
        repositories: By ("datasets", "org/name"); kinds are "models", "datasets" and "spaces".
        uploads: Contents of LFS by SHA-256, committed or not.
        requests: Method and path of every request so far.
        always_public: Make new repositories public whatever was asked, as an organisation's settings may.
    """

    def __init__(self) -> None:
        self.users: dict[str, tuple[str, tuple[str, ...]]] = {TOKEN: (OWNER, (LAB,)), STRANGER: ("mallory", ())}
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.uploads: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.lock = threading.Lock()
        self.always_public = False
        self._cut: list[Any] | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def cut(self, path: str, after: int = 0, skip: int = 0) -> None:
        """Close the connection after `after` bytes of the body of requests that send to a path with this pattern.

        The first `skip` of them pass.
        """
        self._cut = [re.compile(path), after, skip]

    def mend(self) -> None:
        """Cut no more."""
        self._cut = None

    def cut_after(self, path: str) -> int | None:
        """How much of this request's body is to be read before its connection closes; None: all, and it stays open."""
        with self.lock:
            if self._cut is None or not self._cut[0].search(path):
                return None
            self._cut[2] -= 1
            return self._cut[1] if self._cut[2] < 0 else None

    def repository(self, name: str, kind: str = "datasets") -> Repository:
        return self.repositories[kind, name]

    def environment(self, home: Path, token: str = TOKEN) -> dict[str, str]:
        """Variables that send another process' client here, with a cache and a login of its own."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_TOKEN": token,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
        }

    def point_client(self, monkeypatch: pytest.MonkeyPatch, cache: Path, token: str = TOKEN) -> None:
        """Send this process' client here, until the monkeypatch is undone; failed calls are repeated without delay."""
        import time
        from types import SimpleNamespace

        from huggingface_hub import constants
        from huggingface_hub.utils import _http, close_session

        for name, value in self.environment(cache, token).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(constants, "ENDPOINT", self.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", self.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))
        clock = {name: getattr(time, name) for name in ("time", "monotonic", "perf_counter")}
        monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda seconds: None, **clock))
        close_session()


class _Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str, code: str | None = None, **body: str) -> None:
        self.status, self.message, self.code = status, message, code
        self.body = {"error": message, **body}


class _Cut(Exception):
    """The connection is to break off here."""


_NAME = r"(?P<name>[\w.-]+/[\w.-]+)"
_KIND = r"(?P<kind>models|datasets|spaces)"
_ROUTES: tuple[tuple[str, str, str], ...] = (
    ("GET", r"/api/whoami-v2", "whoami"),
    ("POST", r"/api/validate-yaml", "validate_yaml"),
    ("POST", r"/api/repos/create", "create"),
    ("DELETE", r"/api/repos/delete", "delete"),
    ("GET", rf"/api/{_KIND}/{_NAME}(/revision/(?P<revision>[^/]+))?", "info"),
    ("GET", rf"/api/{_KIND}/{_NAME}/refs", "refs"),
    ("GET", rf"/api/{_KIND}/{_NAME}/tree/(?P<revision>[^/]+)(/(?P<path>.*))?", "tree"),
    ("POST", rf"/api/{_KIND}/{_NAME}/paths-info/(?P<revision>[^/]+)", "paths_info"),
    ("POST", rf"/api/{_KIND}/{_NAME}/preupload/(?P<revision>[^/]+)", "preupload"),
    ("POST", rf"/api/{_KIND}/{_NAME}/commit/(?P<revision>[^/]+)", "commit"),
    ("POST", rf"/api/{_KIND}/{_NAME}/branch/(?P<revision>[^/]+)", "branch"),
    ("POST", rf"/api/{_KIND}/{_NAME}/tag/(?P<revision>[^/]+)", "tag"),
    ("PUT", rf"/api/{_KIND}/{_NAME}/settings", "settings"),
    ("POST", rf"/((?P<kind>datasets|spaces)/)?{_NAME}\.git/info/lfs/objects/batch", "lfs_batch"),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", "lfs_put"),
    ("POST", r"/lfs/(?P<oid>[0-9a-f]{64})/verify", "lfs_verify"),
    ("GET", rf"/((?P<kind>datasets|spaces)/)?{_NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "download"),
)


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer("GET")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self, method: str) -> None:
        address = urlsplit(self.path)
        self.hub.requests.append(f"{self.command} {address.path}")
        self.query = {key: values[-1] for key, values in parse_qs(address.query).items()}
        try:
            self.body = self._read_body(address.path)
            for wanted, pattern, name in _ROUTES:
                found = re.fullmatch(pattern, address.path)
                if wanted == method and found:
                    parts = {key: unquote(value) for key, value in found.groupdict().items() if value is not None}
                    if "name" in parts:
                        parts.setdefault("kind", "models")
                    with self.hub.lock:
                        answer = getattr(self, f"_{name}")(**parts)
                    if answer is not None:
                        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})
                    return
            raise _Refusal(404, f"the stand-in has no {method} {address.path}")
        except _Refusal as refusal:
            headers = {"X-Error-Message": refusal.message, "Content-Type": "application/json"}
            if refusal.code is not None:
                headers["X-Error-Code"] = refusal.code
            self._send(refusal.status, json.dumps(refusal.body).encode(), headers)
        except _Cut:
            self.close_connection = True

    def _read_body(self, path: str) -> bytes:
        limit = self.hub.cut_after(path) if self.command in ("POST", "PUT") else None
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
                if limit is not None and len(body) >= limit:
                    raise _Cut
            self.rfile.readline()
        else:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length if limit is None else min(limit, length))
        if limit is not None:
            raise _Cut
        return body

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    # Who asks, and what for.

    def _user(self) -> tuple[str, tuple[str, ...]] | None:
        given = self.headers.get("Authorization")
        if given is None:
            return None
        user = self.hub.users.get(given.removeprefix("Bearer "))
        if user is None:
            raise _Refusal(401, "Invalid credentials in Authorization header")
        return user

    def _may_write(self, name: str) -> None:
        user = self._user()
        if user is None:
            raise _Refusal(401, "Invalid username or password.")
        if name.split("/")[0] not in (user[0], *user[1]):
            raise _Refusal(403, f"You don't have the rights to write under the namespace {name.split('/')[0]!r}")

    def _repository(self, kind: str, name: str, write: bool = False) -> Repository:
        user, found = self._user(), self.hub.repositories.get((kind, name))
        seen = found is not None and (not found.private or (user and name.split("/")[0] in (user[0], *user[1])))
        if found is None or not seen:
            raise _Refusal(404 if user else 401, "Repository not found", "RepoNotFound")
        if write:
            self._may_write(name)
        return found

    def _at(self, kind: str, name: str, revision: str) -> tuple[Repository, str, dict[str, StoredFile]]:
        repository = self._repository(kind, name)
        oid = repository.resolve(revision)
        if oid is None:
            raise _Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return repository, oid, repository.commits[oid]

    def _asked(self) -> tuple[str, str, dict[str, Any]]:
        """Kind, full name and the other fields of a request to create or delete a repository."""
        fields = json.loads(self.body)
        user = self._user()
        namespace = fields.get("organization") or (user[0] if user else "")
        return f"{fields.get('type') or 'model'}s", f"{namespace}/{fields['name']}", fields

    # Repositories.

    def _whoami(self) -> dict[str, Any]:
        user = self._user()
        if user is None:
            raise _Refusal(401, "Invalid username or password.")
        return {"type": "user", "name": user[0], "orgs": [{"type": "org", "name": name} for name in user[1]]}

    def _validate_yaml(self) -> dict[str, Any] | None:
        content = json.loads(self.body)["content"]
        licence = re.search(r"^license: *(\S+)$", content, re.MULTILINE)
        if licence and licence[1] not in LICENCES:
            errors = [{"message": f'"license" must be one of [{", ".join(LICENCES)}]'}]
            self._send(
                400, json.dumps({"errors": errors, "warnings": []}).encode(), {"Content-Type": "application/json"}
            )
            return None
        return {"errors": [], "warnings": [] if content.startswith("---\n") else [{"message": "empty metadata"}]}

    def _create(self) -> dict[str, Any]:
        kind, name, fields = self._asked()
        self._may_write(name)
        url = f"{self.hub.url}/{_PREFIXES[kind]}{name}"
        if (kind, name) in self.hub.repositories:
            raise _Refusal(409, f"You already created this {kind[:-1]} repo: {name}", url=url)
        private = fields.get("visibility") == "private" or bool(fields.get("private"))
        self.hub.repositories[kind, name] = Repository(kind, name, private and not self.hub.always_public)
        return {"url": url, "name": name}

    def _delete(self) -> dict[str, Any]:
        kind, name, _ = self._asked()
        self._repository(kind, name, write=True)
        del self.hub.repositories[kind, name]
        return {}

    def _settings(self, kind: str, name: str) -> dict[str, Any]:
        repository, fields = self._repository(kind, name, write=True), json.loads(self.body)
        if "visibility" in fields or "private" in fields:
            repository.private = fields.get("visibility") == "private" or bool(fields.get("private"))
        return {"private": repository.private}

    def _info(self, kind: str, name: str, revision: str = "main") -> dict[str, Any]:
        repository, oid, files = self._at(kind, name, revision)
        about = {"id": name, "author": name.split("/")[0], "sha": oid, "private": repository.private}
        counts = {"gated": False, "disabled": False, "downloads": 0, "likes": 0, "tags": []}
        times = {"createdAt": CREATED, "lastModified": CREATED}
        hashes = self.query.get("blobs", "").lower() == "true"
        siblings = [self._sibling(path, files[path], hashes) for path in sorted(files)]
        return {**about, **counts, **times, "siblings": siblings}

    @staticmethod
    def _sibling(path: str, stored: StoredFile, hashes: bool) -> dict[str, Any]:
        if not hashes:
            return {"rfilename": path}
        size = len(stored.content)
        lfs = {"lfs": {"sha256": stored.sha256, "size": size, "pointerSize": 134}} if stored.lfs else {}
        return {"rfilename": path, "size": size, "blobId": stored.oid, **lfs}

    def _refs(self, kind: str, name: str) -> dict[str, Any]:
        repository = self._repository(kind, name)

        def listed(where: str, names: dict[str, str]) -> list[dict[str, str]]:
            return [{"name": key, "ref": f"refs/{where}/{key}", "targetCommit": oid} for key, oid in names.items()]

        branches, tags = listed("heads", repository.branches), listed("tags", repository.tags)
        return {"branches": branches, "tags": tags, "converts": [], "pullRequests": []}

    def _branch(self, kind: str, name: str, revision: str) -> dict[str, Any]:
        repository = self._repository(kind, name, write=True)
        start = json.loads(self.body or b"{}").get("startingPoint") or "main"
        if revision in repository.branches:
            raise _Refusal(409, f"Reference already exists: {revision}")
        repository.branches[revision] = self._at(kind, name, start)[1]
        return {}

    def _tag(self, kind: str, name: str, revision: str) -> dict[str, Any]:
        repository, tag = self._repository(kind, name, write=True), json.loads(self.body)["tag"]
        if tag in repository.tags:
            raise _Refusal(409, f"Tag already exists: {tag}")
        repository.tags[tag] = self._at(kind, name, revision)[1]
        return {}

    # Files.

    @staticmethod
    def _entry(path: str, stored: StoredFile) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(stored.content), "oid": stored.oid}
        if stored.lfs:
            entry["lfs"] = {"oid": stored.sha256, "size": len(stored.content), "pointerSize": 134}
        return entry

    def _tree(self, kind: str, name: str, revision: str, path: str = "") -> list[dict[str, Any]]:
        files, folder = self._at(kind, name, revision)[2], f"{path}/" if path else ""
        entries, folders = [], set()
        for full, stored in sorted(files.items()):
            if full.startswith(folder):
                parts = full[len(folder) :].split("/")
                folders |= {folder + "/".join(parts[:n]) for n in range(1, len(parts))}
                entries.append(self._entry(full, stored))
        if self.query.get("recursive", "").lower() != "true":
            entries = [entry for entry in entries if "/" not in entry["path"][len(folder) :]]
            folders = {name for name in folders if "/" not in name[len(folder) :]}
        named = [
            {"type": "directory", "path": name, "size": 0, "oid": hashlib.sha1(name.encode()).hexdigest()}
            for name in sorted(folders)
        ]
        return [*named, *entries]

    def _paths_info(self, kind: str, name: str, revision: str) -> list[dict[str, Any]]:
        files = self._at(kind, name, revision)[2]
        wanted = parse_qs(self.body.decode()).get("paths", [])
        return [self._entry(path, files[path]) for path in wanted if path in files]

    def _preupload(self, kind: str, name: str, revision: str) -> dict[str, Any]:
        self._repository(kind, name, write=True)
        files, answers = self._at(kind, name, revision)[2], []
        for asked in json.loads(self.body)["files"]:
            path = asked["path"]
            mode = "lfs" if path.endswith(LFS_ENDINGS) or asked["size"] > REGULAR_LIMIT else "regular"
            answer = {"path": path, "uploadMode": mode, "shouldIgnore": False}
            if path in files:
                answer["oid"] = files[path].etag
            answers.append(answer)
        return {"files": answers}

    def _lfs_batch(self, kind: str, name: str) -> dict[str, Any]:
        self._repository(kind, name, write=True)
        objects = []
        for asked in json.loads(self.body)["objects"]:
            answer = {"oid": asked["oid"], "size": asked["size"]}
            if asked["oid"] not in self.hub.uploads:
                href = f"{self.hub.url}/lfs/{asked['oid']}"
                answer["actions"] = {"upload": {"href": href}, "verify": {"href": f"{href}/verify"}}
            objects.append(answer)
        return {"transfer": "basic", "objects": objects}

    def _lfs_put(self, oid: str) -> dict[str, Any]:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise _Refusal(400, f"the content sent is not that of {oid}")
        self.hub.uploads[oid] = self.body
        return {}

    def _lfs_verify(self, oid: str) -> dict[str, Any]:
        if len(self.hub.uploads.get(oid, b"")) != json.loads(self.body)["size"]:
            raise _Refusal(404, f"{oid} was not uploaded whole")
        return {}

    def _commit(self, kind: str, name: str, revision: str) -> dict[str, Any]:
        repository = self._repository(kind, name, write=True)
        if revision not in repository.branches:
            raise _Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        parent = repository.branches[revision]
        files, message = dict(repository.commits[parent]), ""
        for line in self.body.splitlines():
            item = json.loads(line)
            key, value = item["key"], item["value"]
            if key == "header":
                message = value["summary"]
                if not parent.startswith(value.get("parentCommit", parent)):
                    raise _Refusal(412, "A commit has happened since. Please refresh and try again.")
            elif key == "file":
                files[value["path"]] = StoredFile(base64.b64decode(value["content"]), lfs=False)
            elif key == "lfsFile":
                if value["oid"] not in self.hub.uploads:
                    raise _Refusal(400, f"LFS object {value['oid']} of {value['path']} was never uploaded")
                files[value["path"]] = StoredFile(self.hub.uploads[value["oid"]], lfs=True)
            elif key in ("deletedFile", "deletedFolder"):
                gone = [path for path in files if path == value["path"] or path.startswith(f"{value['path']}/")]
                if not gone:
                    raise _Refusal(404, f"A file with this name doesn't exist: {value['path']}", "EntryNotFound")
                for path in gone:
                    del files[path]
            else:
                raise _Refusal(400, f"the stand-in does not know the operation {key!r}")
        oid = repository.commit(revision, files, message)
        return {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/{name}/commit/{oid}"}

    def _download(self, kind: str, name: str, revision: str, path: str) -> None:
        _, oid, files = self._at(kind, name, revision)
        if path not in files:
            raise _Refusal(404, "Entry not found", "EntryNotFound")
        stored = files[path]
        headers = {"ETag": f'"{stored.etag}"', "X-Repo-Commit": oid, "Accept-Ranges": "bytes"}
        content, status = stored.content, 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked:
            first, last = int(asked[1]), int(asked[2] or len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            content, status = content[first : last + 1], 206
        self._send(status, content, headers)
