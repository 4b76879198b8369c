"""A Hub on loopback: as much of the Hub's protocol as huggingface_hub asks of it, all in memory.

Repositories are lists of commits, a commit is a dict of files. Large files (weights) go the LFS way: asked for in a
batch, put one by one, and named in the commit by their SHA-256. A private repository exists only for who sends TOKEN.
Clients are processes of their own: they read the endpoint from their environment when they start.
"""

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlsplit

from local_server import LocalServer

TOKEN = "hf_loopback"
REPO = r"(?P<repo>[^/]+/[^/]+)"
LARGE = (".safetensors",)


@dataclass
class Repo:
    name: str
    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)  # commit id -> path -> content, oldest first
    tags: dict[str, str] = field(default_factory=dict)

    def commit_of(self, revision: str) -> str | None:
        newest = list(self.commits)[-1]
        return {"main": newest, **self.tags, **{oid: oid for oid in self.commits}}.get(revision)

    def add(self, files: dict[str, bytes]) -> str:
        oid = hashlib.sha1(f"commit {len(self.commits)}".encode()).hexdigest()
        self.commits[oid] = files
        return oid


class LoopbackHub:
    """The server. `requests` lists what was asked; `uploads_left`, where set, is how many LFS uploads still succeed."""

    def __init__(self):
        self.repos: dict[str, Repo] = {}
        self.large: dict[str, bytes] = {}  # SHA-256 -> content
        self.requests: list[tuple[str, str]] = []
        self.uploads_left: int | None = None
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = LocalServer(handler)
        self.endpoint = self.server.url

    def close(self) -> None:
        self.server.close()

    def files(self, repo: str) -> dict[str, bytes]:
        """The files of a repository's newest commit."""
        return list(self.repos[repo].commits.values())[-1]


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def file_info(path: str, content: bytes) -> dict:
    info = {"type": "file", "path": path, "size": len(content), "oid": git_oid(content)}
    if path.endswith(LARGE):
        sha256 = hashlib.sha256(content).hexdigest()
        info["lfs"] = {"oid": sha256, "sha256": sha256, "size": len(content), "pointerSize": 134}
    return info


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: LoopbackHub

    def log_message(self, *_):
        pass

    def answer(self, status: int = 200, body=b"", **headers) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def missing(self, code: str, status: int = 404) -> None:
        self.answer(status, {"error": code}, X_Error_Code=code, X_Error_Message=code)

    def handle_any(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        self.member = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        for method, pattern, action in ROUTES:
            found = re.fullmatch(pattern, path)
            if method != self.command.replace("HEAD", "GET") or not found:
                continue
            names = found.groupdict()
            if "repo" not in names:
                return action(self, **names)
            repo = self.hub.repos.get(names.pop("repo"))
            if repo is None or (repo.private and not self.member):
                return self.missing("RepoNotFound", 404 if self.member else 401)
            if "revision" in names:
                names["commit"] = repo.commit_of(names.pop("revision") or "main")
                if names["commit"] is None:
                    return self.missing("RevisionNotFound")
            if self.command in ("POST", "PUT", "DELETE") and not self.member:
                return self.missing("Unauthorized", 401)
            return action(self, repo, **names)
        self.missing("EntryNotFound")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

    # Repositories

    def create(self):
        asked = json.loads(self.body)
        if not self.member:
            return self.missing("Unauthorized", 401)
        name = f"{asked.get('organization') or 'user'}/{asked['name']}"
        status = 409 if name in self.hub.repos else 200
        if status == 200:
            private = asked.get("private", False) or asked.get("visibility") == "private"
            self.hub.repos[name] = Repo(name, private)
            self.hub.repos[name].add({".gitattributes": b"*.safetensors filter=lfs\n"})
        self.answer(status, {"id": name, "name": name, "url": f"{self.hub.endpoint}/{name}"})

    def whoami(self):
        if not self.member:
            return self.missing("Unauthorized", 401)
        self.answer(body={"type": "user", "name": "user", "orgs": [], "auth": {"accessToken": {"role": "write"}}})

    def validate(self):
        self.answer(body={"errors": [], "warnings": []})

    def info(self, repo, commit):
        infos = [file_info(path, content) for path, content in repo.commits[commit].items()]
        files = [{"rfilename": info["path"], "blobId": info["oid"], **info} for info in infos]
        body = {"_id": repo.name, "id": repo.name, "private": repo.private, "sha": commit, "siblings": files}
        self.answer(body={**body, "tags": [], "downloads": 0, "likes": 0})

    def tree(self, repo, commit):
        self.answer(body=[file_info(path, content) for path, content in sorted(repo.commits[commit].items())])

    def paths(self, repo, commit):
        files, asked = repo.commits[commit], json.loads(self.body)["paths"]
        self.answer(body=[file_info(path, files[path]) for path in asked if path in files])

    def refs(self, repo):
        tags = [{"name": name, "ref": f"refs/tags/{name}", "targetCommit": oid} for name, oid in repo.tags.items()]
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.commit_of("main")}
        self.answer(body={"branches": [main], "tags": tags, "converts": []})

    def tag(self, repo, commit):
        name = json.loads(self.body)["tag"]
        if name in repo.tags:
            return self.answer(409, {"error": "Tag exists"})
        repo.tags[name] = commit
        self.answer(body={})

    # Down

    def resolve(self, repo, commit, file):
        content = repo.commits[commit].get(file)
        if content is None:
            return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        large = hashlib.sha256(content).hexdigest() if file.endswith(LARGE) else None
        headers = {"X_Repo_Commit": commit, "ETag": f'"{large or git_oid(content)}"', "Accept_Ranges": "bytes"}
        if large:
            headers |= {"X_Linked_Size": str(len(content)), "X_Linked_ETag": f'"{large}"'}
        start = re.match(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if start:
            headers["Content_Range"] = f"bytes {start[1]}-{len(content) - 1}/{len(content)}"
            return self.answer(206, content[int(start[1]) :], **headers)
        self.answer(200, content, **headers)

    # Up

    def preupload(self, repo, commit):
        present = repo.commits[commit]
        files = []
        for file in json.loads(self.body)["files"]:
            mode = "lfs" if file["path"].endswith(LARGE) else "regular"
            before = present.get(file["path"])
            oid = None if before is None else file_info(file["path"], before)
            oid = oid and (oid["lfs"]["oid"] if mode == "lfs" else oid["oid"])
            files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self.answer(body={"files": files})

    def batch(self, repo):
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            if wanted["oid"] not in self.hub.large:
                wanted["actions"] = {"upload": {"href": f"{self.hub.endpoint}/upload/{wanted['oid']}"}}
            objects.append(wanted)
        self.answer(body={"transfer": "basic", "objects": objects})

    def upload(self, oid):
        if self.hub.uploads_left == 0:
            return self.answer(403, {"error": "the line is cut"})
        if self.hub.uploads_left is not None:
            self.hub.uploads_left -= 1
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.hub.large[oid] = self.body
        self.answer()

    def commit(self, repo, commit):
        files = dict(repo.commits[commit])
        for line in self.body.splitlines():
            key, value = (item := json.loads(line))["key"], item["value"]
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif key == "deletedFile":
                files.pop(value["path"])
        oid = repo.add(files)
        self.answer(body={"commitUrl": f"{self.hub.endpoint}/{repo.name}/commit/{oid}", "commitOid": oid})


API = f"/api/models/{REPO}"
ROUTES = (
    ("POST", "/api/repos/create", _Handler.create),
    ("GET", "/api/whoami-v2", _Handler.whoami),
    ("POST", "/api/validate-yaml", _Handler.validate),
    ("GET", f"{API}(/revision/(?P<revision>.+))?", _Handler.info),
    ("GET", f"{API}/tree/(?P<revision>[^/]+)", _Handler.tree),
    ("POST", f"{API}/paths-info/(?P<revision>[^/]+)", _Handler.paths),
    ("GET", f"{API}/refs", _Handler.refs),
    ("POST", f"{API}/tag/(?P<revision>[^/]+)", _Handler.tag),
    ("POST", f"{API}/preupload/(?P<revision>[^/]+)", _Handler.preupload),
    ("POST", f"{API}/commit/(?P<revision>[^/]+)", _Handler.commit),
    ("POST", f"/{REPO}\\.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT", r"/upload/(?P<oid>[0-9a-f]{64})", _Handler.upload),
    ("GET", f"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<file>.+)", _Handler.resolve),
)
