"""Where the Hub's stand-in keeps what it is given: repositories, their commits and files, all in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True)
class StoredFile:
    """A file of a commit."""

    content: bytes
    lfs: bool

    @property
    def oid(self) -> str:
        """SHA-1 as git names a blob."""
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid


@dataclass
class Repository:
    """A repository: its commits, oldest first, and where its branches and tags point."""

    kind: str
    name: str
    private: bool
    commits: dict[str, dict[str, StoredFile]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.commit("main", {}, "initial commit")

    def commit(self, branch: str, files: dict[str, StoredFile], message: str) -> str:
        oid = hashlib.sha1(f"{self.kind}/{self.name}/{len(self.commits)}".encode()).hexdigest()
        self.commits[oid] = dict(files)
        self.messages.append(message)
        self.branches[branch] = oid
        return oid

    def resolve(self, revision: str) -> str | None:
        """The commit that a branch, a tag, a commit or the beginning of one names."""
        for names in (self.branches, self.tags):
            if revision in names:
                return names[revision]
        return next((oid for oid in self.commits if len(revision) > 6 and oid.startswith(revision)), None)

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """Paths and contents at a revision, for tests to look at."""
        oid = self.resolve(revision)
        assert oid is not None, revision
        return {path: stored.content for path, stored in self.commits[oid].items()}
