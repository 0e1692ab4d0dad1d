"""A run's model on its way to a Hub repository, in one commit: there is no moment at which half of it can be seen."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.utils.sha import git_hash, sha_fileobj

from hsta_hf.hub.client import (
    PublishError,
    check_name,
    explained,
    hub_api,
    private_repository,
    refuse_offline,
    settings_page,
)
from hsta_hf.hub.model_folder import CONFIG, is_model_file
from hsta_hf.hub.run_model import RunModel
from hsta_hf.reporting.model_card import CARD_FILE, is_untouched

_MAIN = "main"
# What the Hub or its web page puts into a repository that holds nothing yet.
_NOTHING_YET = frozenset({".gitattributes", CARD_FILE, "LICENSE"})
_UNTOUCHED = "Nothing of it can be seen there: the repository is as it was. Repeat the command"


@dataclass(frozen=True)
class Destination:
    """Where a model goes to, and who may see it.

    Attributes:
        repo_id: the repository, `org/name`; made if it does not exist.
        public: whether everybody may see it. Without this word a new repository is private, and a public one refused.
        revision: branch to push to, made from the main one if it does not exist; None: the main one.
        tag: name to give to the commit, which then never moves.
        overwrite: replace a card that was edited in the repository.
    """

    repo_id: str
    public: bool = False
    revision: str | None = None
    tag: str | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class PushedModel:
    """What a push came to.

    Attributes:
        url: where the repository can be looked at.
        commit: the commit that holds the model; `from_pretrained(…, revision=commit)` loads these very files.
        created: whether the repository is new.
        private: whether only its owners may see it.
        changed: whether the push changed anything: not if the same model is there already.
    """

    url: str
    commit: str
    created: bool
    private: bool
    changed: bool


def push_model(model: RunModel, to: Destination, token: str | None = None) -> PushedModel:
    """Push a run's model: weights, configuration, processor, code, card and scores, all in one commit.

    Large files are uploaded first and belong to no commit until then, so that a connection that breaks leaves the
    repository as it was; the same call goes on, and what has arrived is not sent again. A model that is there is
    replaced (its former commits stay), and its files that the new one does not have go in the same commit. A new
    repository is made private, and only made public, where that is asked for, when the model is in it.

    Args:
        model: from `run_model`.
        to: where to.
        token: token of the Hub; None takes the one of `hf auth login` or of the variable HF_TOKEN.

    Returns:
        Where it is.

    Raises:
        PublishError: nobody is logged in or may write there; the repository is public, or holds something else; its
            card was edited; the tag exists; the Hub is switched off, cannot be reached, or the connection broke off.
    """
    check_name(to.repo_id)
    refuse_offline()
    api = hub_api(token)
    what = f"{model.folder} could not be pushed to {to.repo_id}"
    with explained(what, f"{_UNTOUCHED}.") as attempt:
        hint = " If everybody is to see the model, say so: --public."
        found = private_repository(api, to.repo_id, "model", allow_public=to.public, public_hint=hint)
        there = _look(api, to, found.about)
        _refuse_something_else(api, to, there.about)
        changed = [name for name, content in model.contents.items() if not _is_there(there.files.get(name), content)]
        stale = [name for name in there.files if is_model_file(name) and name not in model.contents]
        _refuse_edited_card(api, to, there.about, CARD_FILE in changed)
        _refuse_tag(to, there, bool(changed or stale))
        _refuse_to_open_others(api, to, there, model.contents)
        commit = there.about.sha
        if changed or stale:
            if there.is_new_branch:
                api.create_branch(to.repo_id, branch=str(to.revision), revision=commit)
            attempt.next_step = f"{_UNTOUCHED}: what has arrived is not sent again."
            commit = api.create_commit(
                to.repo_id,
                [
                    *(CommitOperationAdd(name, model.contents[name]) for name in changed),
                    *(CommitOperationDelete(name, is_folder=False) for name in stale),
                ],
                commit_message=f"HSTA: {model.origin}",
                revision=to.revision,
                parent_commit=commit,
            ).oid
        attempt.next_step = f"The model is there, whole, at commit {commit}; the same command does what is left."
        if to.tag and to.tag not in there.tags:
            api.create_tag(to.repo_id, tag=to.tag, revision=commit)
        if to.public and there.about.private:
            api.update_repo_settings(to.repo_id, private=False)
    private = bool(there.about.private) and not to.public
    return PushedModel(f"{api.endpoint}/{to.repo_id}", commit, found.created, private, bool(changed or stale))


@dataclass(frozen=True)
class _There:
    """What a repository holds where the model is to go."""

    about: Any
    files: Mapping[str, Any]
    tags: Mapping[str, str]
    is_new_branch: bool


def _look(api: HfApi, to: Destination, about: Any) -> _There:
    refs = api.list_repo_refs(to.repo_id)
    branches = {branch.name for branch in refs.branches}
    if to.revision in {tag.name for tag in refs.tags}:
        raise PublishError(
            f"{to.revision} is a tag of {to.repo_id}, and a tag does not move: give --revision the name of a branch"
        )
    if to.revision not in (None, _MAIN) and to.revision in branches:
        about = api.model_info(to.repo_id, revision=to.revision, files_metadata=True)
    files = {sibling.rfilename: sibling for sibling in about.siblings or ()}
    tags = {tag.name: tag.target_commit for tag in refs.tags}
    return _There(about, files, tags, to.revision is not None and to.revision not in branches)


def _is_there(sibling: Any, content: Path | bytes) -> bool:
    """Whether the repository's file has this content, by the hash that the Hub keeps of it."""
    if sibling is None:
        return False
    if sibling.lfs is None:
        return bool(sibling.blob_id == git_hash(content if isinstance(content, bytes) else content.read_bytes()))
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        return bool(sibling.lfs.sha256 == sha_fileobj(file).hex())


def _content(api: HfApi, to: Destination, about: Any, name: str) -> str:
    return Path(api.hf_hub_download(to.repo_id, name, revision=about.sha)).read_text(encoding="utf-8")


def _refuse_something_else(api: HfApi, to: Destination, about: Any) -> None:
    names = {sibling.rfilename for sibling in about.siblings or ()}
    others = sorted(names - _NOTHING_YET)
    if not others:
        return
    kind = None
    if CONFIG in names:
        try:
            kind = json.loads(_content(api, to, about, CONFIG)).get("model_type")
        except (ValueError, AttributeError):
            kind = None
    if kind != "hsta":
        what = f"a model of type {kind}" if kind else ", ".join(others[:5])
        raise PublishError(
            f"the repository {to.repo_id} holds something else ({what}): nothing was pushed. Choose a name that does "
            "not exist"
        )


def _refuse_edited_card(api: HfApi, to: Destination, about: Any, card_changes: bool) -> None:
    names = {sibling.rfilename for sibling in about.siblings or ()}
    if to.overwrite or not card_changes or CARD_FILE not in names:
        return
    if not is_untouched(_content(api, to, about, CARD_FILE)):
        raise PublishError(
            f"the card ({CARD_FILE}) of {to.repo_id} was edited by hand: nothing was pushed. To keep it, put it into "
            "the model's folder, from where it is pushed as it is; to replace it, add --overwrite (the Hub keeps the "
            "former commits)"
        )


def _refuse_tag(to: Destination, there: _There, changes: bool) -> None:
    if to.tag and to.tag in there.tags and (changes or there.tags[to.tag] != there.about.sha):
        raise PublishError(
            f"{to.repo_id} has the tag {to.tag} already, at commit {there.tags[to.tag]}: nothing was pushed. A tag "
            "does not move, or it would pin nothing; choose another"
        )


def _refuse_to_open_others(api: HfApi, to: Destination, there: _There, contents: Mapping[str, Path | bytes]) -> None:
    """Make no repository public that holds another model than this one: whoever pushed that meant it to be private."""
    weights = [name for name in there.files if is_model_file(name) and name.endswith(".safetensors")]
    others = [name for name in weights if name not in contents or not _is_there(there.files[name], contents[name])]
    if to.public and there.about.private and others:
        raise PublishError(
            f"the repository {to.repo_id} is private and holds another model, which --public would show to everybody: "
            "nothing was pushed. Choose another name, push without --public, or make it public on its page first "
            f"({settings_page(api, to.repo_id, 'model')})"
        )
