"""What every push to the Hub needs: a name that can be, a login, a repository of the right kind, errors in words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from huggingface_hub import HfApi, get_token, is_offline_mode
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

SWITCHED_OFF = "the Hub is switched off on this machine (HF_HUB_OFFLINE is set)"
_LONGEST_CAUSE = 300  # characters of what the Hub's client said


class PublishError(ValueError):
    """Something cannot be pushed to, or pulled from, the Hub."""


@dataclass(frozen=True)
class Found:
    """A repository that may be pushed to.

    Attributes:
        about: What the Hub says of it: `dataset_info` or `model_info`, files' hashes included.
        created: Whether it is new.
    """

    about: Any
    created: bool


def check_name(repo_id: str) -> None:
    """Refuse a name that no repository can have, or that names no owner.

    Raises:
        PublishError: it is such a name.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise PublishError(f"{repo_id!r} is no name of a Hub repository: {error}") from error
    if "/" not in repo_id:
        raise PublishError(f"{repo_id!r} names no owner; write ORG/NAME, ORG being a user or an organisation")


def refuse_offline() -> None:
    """Refuse to push where the Hub is switched off.

    Raises:
        PublishError: HF_HUB_OFFLINE is set.
    """
    if is_offline_mode():
        raise PublishError(f"{SWITCHED_OFF}: nothing was pushed. Unset the variable to push")


def hub_api(token: str | None) -> HfApi:
    """The Hub's client for somebody who is logged in.

    Args:
        token: Token of the Hub; None takes the one of `hf auth login` or of the variable HF_TOKEN.

    Raises:
        PublishError: there is no token.
    """
    if not (token or get_token()):
        raise PublishError("nobody is logged in to the Hub: run `hf auth login`, or set the variable HF_TOKEN")
    return HfApi(token=token, library_name="hsta-hf")


def settings_page(api: HfApi, repo_id: str, kind: str) -> str:
    """Address of the page on which a repository's owner changes who may see it."""
    return f"{api.endpoint}/{'datasets/' if kind == 'dataset' else ''}{repo_id}/settings"


def private_repository(
    api: HfApi, repo_id: str, kind: str, *, allow_public: bool = False, public_hint: str = ""
) -> Found:
    """Look a repository up, or make it: a new one is always made private.

    Args:
        api: From `hub_api`.
        repo_id: `org/name`.
        kind: "dataset" or "model".
        allow_public: It may be public.
        public_hint: What else to do about one that is public; ends the error's text.

    Raises:
        PublishError: it exists and is public, gated, or not to be read.
    """
    created = False

    def look() -> Any:
        return api.repo_info(repo_id, repo_type=kind, files_metadata=True)

    try:
        about = look()
    except GatedRepoError as error:
        raise PublishError(f"{repo_id} exists, is gated and not yours to read; choose another name") from error
    except RepositoryNotFoundError:
        try:
            api.create_repo(repo_id, repo_type=kind, private=True)
        except HfHubHTTPError as error:
            if error.response is not None and error.response.status_code == 409:
                raise PublishError(f"{repo_id} exists and you may not read it; choose another name") from error
            raise
        created, about = True, look()
    # A new one is looked at, too: an organisation's settings may have the last word.
    if about.private is not True and not allow_public:
        raise PublishError(
            f"the {kind} repository {repo_id} is PUBLIC: nothing was pushed. Choose a name that does not exist, "
            f"or make it private first ({settings_page(api, repo_id, kind)}).{public_hint}"
        )
    return Found(about, created)


@dataclass
class Attempt:
    """Something that the Hub is asked for; `next_step` says what to do should it fail now."""

    next_step: str


@contextlib.contextmanager
def explained(what: str, next_step: str) -> Iterator[Attempt]:
    """Turn whatever the Hub's client stumbles over into one error that says what to do.

    Args:
        what: What could not be done, as the message begins.
        next_step: What to do about it, where the token is not to blame.

    Raises:
        PublishError: the Hub refused, could not be reached, or the connection broke off.
    """
    attempt = Attempt(next_step)
    try:
        yield attempt
    except PublishError:
        raise
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None and not isinstance(cause, HfHubHTTPError):
            cause = cause.__cause__
        status = getattr(getattr(cause, "response", None), "status_code", None)
        next_step = attempt.next_step
        if status in (401, 403, 404):
            next_step = (
                "Either there is no such repository or revision, or the token does not allow this: log in with "
                "`hf auth login`, with a token that may read and write repositories of that owner."
            )
        elif status == 400:
            cause = error  # in the client's words, which name what the Hub does not take
            next_step = "Nothing was pushed: put right what the Hub names, and repeat."
        elif status == 412:
            next_step = "Somebody else pushed meanwhile: nothing of this push is there. Look at theirs, and repeat."
        said = " ".join(str(cause).split()).rstrip(".") or type(cause).__name__
        raise PublishError(f"{what}: {said[:_LONGEST_CAUSE]}. {next_step}") from error
