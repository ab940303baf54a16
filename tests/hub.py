"""A Hugging Face Hub on this machine: as much of its interface as the real client speaks for data sets, and nothing else.

Commits are immutable snapshots, path → content, and branches, tags and pull requests are names of commits. Large files go
the way of git-lfs, as they do on the Hub for a client without Xet.
"""

import asyncio
import codecs
import hashlib
import json
import os
import re
import socket
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch
from urllib.parse import parse_qs, quote, unquote

import uvicorn
import yaml
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

DATE = "2026-01-01T00:00:00.000Z"
LARGE = 10_000_000  # bytes from which a text, too, is a large file


@dataclass(frozen=True)
class Blob:
    """A file's content, and whether git has it or a pointer to it."""

    content: bytes
    large: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def pointer(self) -> bytes:
        return (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.content)}\n".encode()
        )

    @property
    def oid(self) -> str:
        stored = self.pointer if self.large else self.content
        return hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.large else self.oid

    def lfs(self) -> dict[str, Any]:
        return {"oid": self.sha256, "size": len(self.content), "pointerSize": len(self.pointer)}


@dataclass(frozen=True)
class Commit:
    title: str
    files: Mapping[str, Blob]
    parent: str | None = None
    description: str = ""
    author: str = "hub"

    @property
    def oid(self) -> str:
        tree = [(path, blob.etag) for path, blob in sorted(self.files.items())]
        return hashlib.sha1(
            json.dumps([self.title, self.description, self.parent, self.author, tree]).encode()
        ).hexdigest()


@dataclass
class Repository:
    private: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)  # refs/heads/main → commit
    objects: dict[str, bytes] = field(default_factory=dict)  # large files that have arrived: SHA-256 → content

    def add(self, ref: str, commit: Commit) -> str:
        self.commits[commit.oid] = commit
        self.refs[ref] = commit.oid
        return commit.oid

    def find(self, revision: str) -> str:
        """Return the commit that a branch, a tag, a reference or the beginning of an identifier means."""
        for ref in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if ref in self.refs:
                return self.refs[ref]
        found = [oid for oid in self.commits if len(revision) >= 7 and oid.startswith(revision)]
        return found[0] if found else refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """Return what a revision holds: path → content."""
        return {path: blob.content for path, blob in self.commits[self.find(revision)].files.items()}


@dataclass(frozen=True)
class User:
    name: str
    organisations: tuple[str, ...] = ()
    role: Literal["read", "write"] = "write"


@dataclass(frozen=True)
class Seen:
    """A request and what became of it; status 0: the connection was cut. Which host it was sent to, and with which token."""

    method: str
    path: str
    range: str | None
    received: int
    sent: int
    status: int
    host: str = ""
    token: str | None = None


@dataclass
class Fault:
    """What goes wrong with requests of a method whose path has a pattern, after `skip` of them went well, `times` over.

    A status is answered in the request's stead. Without one the connection is cut: half-way through the request, which is
    then not obeyed, or half-way through the answer to it, which is. `then` is called first: somebody presses Ctrl-C, say.
    """

    method: str
    pattern: str
    skip: int = 0
    times: int = 1
    status: int | None = None
    cut: Literal["request", "answer", "nothing"] = "request"
    then: Callable[[], None] = lambda: None


class RefusedError(Exception):
    def __init__(self, status: int, message: str, code: str | None) -> None:
        super().__init__(message)
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.response = JSONResponse({"error": message}, status, headers)


def refuse(status: int, message: str, code: str | None = None) -> Any:
    raise RefusedError(status, message, code)


class CutError(Exception):
    """The connection is to be cut."""


class Hub:
    """The Hub as an ASGI application, with everything that it knows.

    Attributes
    ----------
    endpoint : its address, `HF_ENDPOINT`.
    users : token → who that is. `writer` belongs to the organisation `lab`, `reader` may only read, `stranger` is in none.
    repositories : `ORG/NAME` → data set.
    seen : every request so far;  faults : what is to go wrong.
    """

    def __init__(self, port: int) -> None:
        self.endpoint, self.storage = f"http://127.0.0.1:{port}", f"http://localhost:{port}"
        self.users = {
            "hf_writer": User("writer", ("lab",)),
            "hf_reader": User("reader", ("lab",), "read"),
            "hf_stranger": User("stranger"),
        }
        self.repositories: dict[str, Repository] = {}
        self.seen: list[Seen] = []
        self.faults: list[Fault] = []

    def requests(self, method: str, pattern: str) -> list[Seen]:
        return [one for one in self.seen if one.method == method and re.search(pattern, one.path)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        path = scope["raw_path"].decode()
        fault = next(
            (one for one in self.faults if request.method == one.method and re.search(one.pattern, path)), None
        )
        if fault and fault.skip > 0:
            fault.skip, fault = fault.skip - 1, None
        elif fault:
            fault.times -= 1
            self.faults = [one for one in self.faults if one.times > 0]
            fault.then()
        body, response = b"", Response(status_code=0)
        transport: asyncio.Transport = scope["state"]["transport"]
        try:
            async for part in request.stream():
                body += part
                half = len(body) * 2 >= int(request.headers.get("content-length", 0))
                if half and fault and fault.cut == "request" and not fault.status:
                    raise CutError
            if fault and fault.status:
                refuse(fault.status, "something is wrong here")
            response = self.answer(request, [unquote(part) for part in path.split("/")[1:]], body)
        except RefusedError as refused:
            response = refused.response
        except (CutError, ClientDisconnect):
            transport.abort()
        content = b"" if request.method == "HEAD" else bytes(response.body)
        cut = fault is not None and fault.cut == "answer" and not fault.status
        if cut:
            content = content[: len(content) // 2]
        self.seen.append(
            Seen(
                request.method,
                path,
                request.headers.get("range"),
                len(body),
                len(content),
                response.status_code,
                request.headers.get("host", "").partition(":")[0],
                request.headers.get("authorization"),
            )
        )
        if response.status_code and (content or not cut):
            headers = response.raw_headers
            await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
            await send({"type": "http.response.body", "body": content, "more_body": cut})
        if cut:
            while transport.get_write_buffer_size():
                await asyncio.sleep(0.001)
            transport.abort()

    def answer(self, request: Request, path: list[str], body: bytes) -> Response:
        """Do what a request asks for; a quoted slash (`refs%2Fpr%2F1`) separates nothing."""
        user = self.user(request)
        match request.method, path:
            case "GET", ["api", "whoami-v2"]:
                who = user or refuse(401, "Invalid username or password.")
                orgs = [{"name": name, "type": "org"} for name in who.organisations]
                token = {"accessToken": {"displayName": "test", "role": who.role}}
                return JSONResponse({"type": "user", "name": who.name, "orgs": orgs, "auth": token})
            case "POST", ["api", "repos", "create"]:
                return self.create(user, json.loads(body))
            case "POST", ["api", "validate-yaml"]:
                _, error = card(json.loads(body)["content"])
                errors = [{"message": error}] if error else []
                return JSONResponse({"errors": errors, "warnings": []}, 400 if error else 200)
            case "PUT", ["lfs", organisation, name, oid, size]:
                if hashlib.sha256(body).hexdigest() != oid or len(body) != int(size):
                    refuse(400, "the content is not that of the object")
                self.repositories[f"{organisation}/{name}"].objects[oid] = body
                return Response()
            case "POST", ["lfs", organisation, name]:
                asked = json.loads(body)
                there = self.repositories[f"{organisation}/{name}"].objects.get(asked["oid"], b"")
                return Response() if len(there) == asked["size"] else refuse(404, "the object is not there")
            case (("GET" | "HEAD"), ["lfs", organisation, name, oid]):
                return ranged(request, self.repositories[f"{organisation}/{name}"].objects[oid], {"ETag": f'"{oid}"'})
            case "POST", ["datasets", organisation, name, "info", "lfs", "objects", "batch"] if name.endswith(".git"):
                return self.batch(f"{organisation}/{name.removesuffix('.git')}", user, json.loads(body))
            case (("GET" | "HEAD"), ["datasets", organisation, name, "resolve", revision, *file]):
                return self.resolve(f"{organisation}/{name}", user, revision, "/".join(file), request)
            case method, ["api", "datasets", organisation, name, *rest]:
                return self.of_repository(f"{organisation}/{name}", user, method, rest, request, body)
        return refuse(404, "Not Found")

    def of_repository(
        self, name: str, user: User | None, method: str, path: list[str], request: Request, body: bytes
    ) -> Response:
        repository = self.repository(name, user)
        flag = {key: value.lower() in ("1", "true") for key, value in request.query_params.items()}
        pull = flag.get("create_pr", False)
        match method, path:
            case "GET", [] | ["revision", _]:
                return self.info(name, path[1] if path else "main", blobs=flag.get("blobs", False))
            case "GET", ["refs"]:
                kinds = {"heads": "branches", "tags": "tags"} | (
                    {"pr": "pullRequests"} if flag.get("include_prs") else {}
                )
                found: dict[str, Any] = {kind: [] for kind in ("converts", *kinds.values())}
                for ref, oid in repository.refs.items():
                    _, kind, short = ref.split("/", 2)
                    if kind in kinds:
                        found[kinds[kind]].append(
                            {"name": ref if kind == "pr" else short, "ref": ref, "targetCommit": oid}
                        )
                return JSONResponse(found)
            case "GET", ["tree", revision, *folder]:
                oid, within = repository.find(revision), folder[0].rstrip("/") + "/" if folder else ""
                entries = tree(repository.commits[oid], oid, expand=flag.get("expand", False))
                below = [entry for at, entry in entries.items() if at.startswith(within)]
                if folder and not below:
                    refuse(404, f"{folder[0]} does not exist on {revision}", "EntryNotFound")
                everything = flag.get("recursive", False)
                return JSONResponse([entry for entry in below if everything or "/" not in entry["path"][len(within) :]])
            case "POST", ["paths-info", revision]:
                asked, oid = parse_qs(body.decode()), repository.find(revision)
                entries = tree(repository.commits[oid], oid, expand=asked.get("expand", [""])[0].lower() == "true")
                return JSONResponse(
                    [entries[at.rstrip("/")] for at in asked.get("paths", []) if at.rstrip("/") in entries]
                )
            case "POST", ["preupload", revision]:
                self.may_write(name, user, pull=pull)
                files = repository.commits[repository.find(revision)].files
                return JSONResponse({"files": [preupload(one, files) for one in json.loads(body)["files"]]})
            case "POST", ["tag", revision]:
                self.may_write(name, user)
                ref = f"refs/tags/{json.loads(body)['tag']}"
                if ref in repository.refs:
                    refuse(409, f"Tag reference exists already: {ref}")
                repository.refs[ref] = repository.find(revision)
                return Response()
            case "POST", ["commit", revision]:
                author = self.may_write(name, user, pull=pull or revision.startswith("refs/pr/"))
                return self.commit(name, revision, author, [json.loads(line) for line in body.splitlines()], pull=pull)
        return refuse(404, "Not Found")

    def user(self, request: Request) -> User | None:
        said = request.headers.get("authorization")
        if said is None:
            return None
        return self.users.get(said.removeprefix("Bearer ")) or refuse(
            401, "Invalid credentials in Authorization header"
        )

    def repository(self, name: str, user: User | None) -> Repository:
        repository = self.repositories.get(name)
        belongs = user and name.split("/")[0] in (user.name, *user.organisations)
        if repository and (belongs or not repository.private):
            return repository
        return refuse(404 if user else 401, "Repository not found", "RepoNotFound")

    def may_write(self, name: str, user: User | None, *, pull: bool = False) -> User:
        """Anybody who may write at all may open pull requests; committing takes rights in the namespace."""
        who: User = user or refuse(401, "Invalid username or password.")
        belongs = name.split("/")[0] in (who.name, *who.organisations)
        return (
            who if who.role == "write" and (belongs or pull) else refuse(403, "your token has no write permission here")
        )

    def create(self, user: User | None, asked: dict[str, Any]) -> Response:
        who: User = user or refuse(401, "Invalid username or password.")
        namespace = asked.get("organization") or who.name
        name = f"{namespace}/{asked['name']}"
        if who.role != "write" or namespace not in (who.name, *who.organisations):
            refuse(403, f'You don\'t have the rights to create a dataset under the namespace "{namespace}"')
        if asked.get("type") != "dataset":
            refuse(400, "this Hub has data sets alone")
        url = {"url": f"{self.endpoint}/datasets/{name}", "name": name}
        if name in self.repositories:
            return JSONResponse({"error": "You already created this dataset repo", **url}, 409)
        self.repositories[name] = Repository(
            private=asked.get("visibility") == "private" or asked.get("private", False)
        )
        attributes = Blob(b"*.parquet filter=lfs diff=lfs merge=lfs -text\n")
        self.repositories[name].add("refs/heads/main", Commit("initial commit", {".gitattributes": attributes}))
        return JSONResponse(url)

    def info(self, name: str, revision: str, *, blobs: bool) -> Response:
        repository = self.repositories[name]
        oid = repository.find(revision)
        siblings: list[dict[str, Any]] = []
        for path, blob in sorted(repository.commits[oid].files.items()):
            detail = {"blobId": blob.oid, "size": len(blob.content)} | (
                {"lfs": lfs_of_sibling(blob)} if blob.large else {}
            )
            siblings.append({"rfilename": path} | (detail if blobs else {}))
        readme = repository.commits[oid].files.get("README.md", Blob(b"")).content.decode()
        facts = {"id": name, "author": name.split("/")[0], "sha": oid, "lastModified": DATE, "createdAt": DATE}
        state = {
            "private": repository.private,
            "gated": False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
        }
        return JSONResponse({**facts, **state, "cardData": card(readme)[0], "siblings": siblings})

    def batch(self, name: str, user: User | None, asked: dict[str, Any]) -> Response:
        """Say of large files where to send them; one that is there already is not to be sent."""
        repository = self.repository(name, user)
        self.may_write(name, user, pull="ref" not in asked)
        objects: list[dict[str, Any]] = []
        for one in asked["objects"]:
            upload = {"href": f"{self.endpoint}/lfs/{name}/{one['oid']}/{one['size']}"}
            verify = {"href": f"{self.endpoint}/lfs/{name}"}
            there = one["oid"] in repository.objects
            objects.append(one if there else {**one, "actions": {"upload": upload, "verify": verify}})
        return JSONResponse({"transfer": "basic", "objects": objects})

    def resolve(self, name: str, user: User | None, revision: str, file: str, request: Request) -> Response:
        """Give a file, or say where storage has it: another host, which knows no tokens."""
        repository = self.repository(name, user)
        oid = repository.find(revision)
        blob = repository.commits[oid].files.get(file) or refuse(404, f"{file} does not exist", "EntryNotFound")
        headers = {"X-Repo-Commit": oid, "ETag": f'"{blob.etag}"'}
        if not blob.large:
            return ranged(request, blob.content, headers)
        linked = {"X-Linked-Size": str(len(blob.content)), "X-Linked-Etag": f'"{blob.etag}"'}
        where = f"{self.storage}/lfs/{quote(name)}/{blob.sha256}"
        return Response(status_code=302, headers={**headers, **linked, "Location": where})

    def commit(self, name: str, revision: str, author: User, lines: list[dict[str, Any]], *, pull: bool) -> Response:
        repository = self.repositories[name]
        base = repository.find(revision)
        files = dict(repository.commits[base].files)
        header = lines[0]["value"]
        if header.get("parentCommit", base) != base and not pull:
            refuse(412, "A commit has happened since. Please refresh and try again.")
        for line in lines[1:]:
            value, path = line["value"], line["value"]["path"]
            match line["key"]:
                case "file":
                    files[path] = Blob(b64decode(value["content"], validate=True))
                case "lfsFile":
                    content = repository.objects.get(value["oid"])
                    files[path] = (
                        refuse(400, f"{path} was not uploaded") if content is None else Blob(content, large=True)
                    )
                case "deletedFile":
                    files.pop(path, None) or refuse(
                        404, f"A file with this name doesn't exist: {path}", "EntryNotFound"
                    )
                case "deletedFolder":
                    files = {at: blob for at, blob in files.items() if not at.startswith(path.rstrip("/") + "/")}
                case key:
                    refuse(400, f"unknown operation {key}")
        number = 1 + sum(ref.startswith("refs/pr/") for ref in repository.refs)
        ref = f"refs/pr/{number}" if pull else f"refs/heads/{revision}"
        ref = revision if revision in repository.refs and not pull else ref
        if not pull and ref not in repository.refs:
            refuse(400, f"{revision} is not a branch")
        oid = repository.add(ref, Commit(header["summary"], files, base, header.get("description", ""), author.name))
        url = f"{self.endpoint}/datasets/{name}"
        answer = {"success": True, "commitOid": oid, "commitUrl": f"{url}/commit/{oid}"}
        return JSONResponse(answer | ({"pullRequestUrl": f"{url}/discussions/{number}"} if pull else {}))


def card(readme: str) -> tuple[dict[str, Any], str | None]:
    """Return the metadata at the head of a README, and what is wrong with it."""
    head = re.match(r"---\n(.*?)\n---(\n|$)", readme, re.DOTALL)
    try:
        data = yaml.safe_load(head[1]) if head else {}
    except yaml.YAMLError as error:
        return {}, str(error)
    return (data, None) if isinstance(data, dict) else ({}, "metadata must be a mapping")


def preupload(asked: dict[str, Any], files: Mapping[str, Blob]) -> dict[str, Any]:
    """Say whether a file is a large one, by its beginning and its size, and what is in its place now."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(b64decode(asked["sample"]))
        large = asked["size"] > LARGE
    except UnicodeDecodeError:
        large = True
    there = {"oid": files[asked["path"]].etag} if asked["path"] in files else {}
    return {"path": asked["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, **there}


def lfs_of_sibling(blob: Blob) -> dict[str, Any]:
    return {"sha256": blob.sha256, "size": len(blob.content), "pointerSize": len(blob.pointer)}


def tree(commit: Commit, oid: str, *, expand: bool) -> dict[str, dict[str, Any]]:
    """Return a commit's files and folders: path → what the Hub says of it."""
    more = {"lastCommit": {"id": oid, "title": commit.title, "date": DATE}} if expand else {}
    entries: dict[str, dict[str, Any]] = {}
    for path, blob in sorted(commit.files.items()):
        parts = path.split("/")
        for folder in ("/".join(parts[:depth]) for depth in range(1, len(parts))):
            name = hashlib.sha1(f"{oid}/{folder}".encode()).hexdigest()
            entries[folder] = {"type": "directory", "path": folder, "oid": name, "size": 0, **more}
        entries[path] = {"type": "file", "path": path, "oid": blob.oid, "size": len(blob.content), **more}
        if blob.large:
            entries[path]["lfs"] = blob.lfs()
    return entries


def ranged(request: Request, content: bytes, headers: dict[str, str]) -> Response:
    """Return a file, or the range of it that a request asks for."""
    headers = {**headers, "Accept-Ranges": "bytes"}
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
    if not asked:
        return Response(content, headers=headers)
    first, last = (int(one) if one else None for one in asked.groups())
    start = max(0, len(content) - (last or 0)) if first is None else first
    stop = len(content) if first is None or last is None else min(len(content), last + 1)
    if start >= stop:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{len(content)}"})
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
    return Response(content[start:stop], 206, headers)


class _Protocol(H11Protocol):
    """The server's, which tells the application of the connection, so that it can cut it."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self.app_state = {"transport": transport}


@contextmanager
def running() -> Iterator[Hub]:
    """A hub that answers until the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else every answer waits 40 ms
        hub = Hub(listening.getsockname()[1])
        settings = uvicorn.Config(
            hub, log_config=None, lifespan="off", http=_Protocol, ws="none", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(settings)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield hub
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def for_real(hub: Hub, home: Path) -> Iterator[None]:
    """Make the client take the hub for the real one, as `writer`: in this process, and in those that it starts.

    The client reads its environment once, when it is imported, which another test may have done already.
    """
    from huggingface_hub import HfFileSystem, close_session, constants
    from huggingface_hub.utils import disable_progress_bars

    environment = {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(home),
        "HF_TOKEN": "hf_writer",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
    read = {
        "ENDPOINT": hub.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
        "AGENT_HARNESSES_PATH": str(home / "harnesses.json"),
        "HF_HUB_DISABLE_XET": True,
    }
    with patch.dict(os.environ, environment), patch.multiple(constants, **read):
        for other in ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_TOKEN_PATH", "HUGGING_FACE_HUB_TOKEN", "HF_DATASETS_CACHE"):
            os.environ.pop(other, None)  # those of whoever runs the tests; the patch brings them back
        disable_progress_bars()
        HfFileSystem.clear_instance_cache()  # the client's file systems outlive their endpoint
        try:
            yield
        finally:
            close_session()
