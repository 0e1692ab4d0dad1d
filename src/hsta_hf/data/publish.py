"""A prepared dataset on its way to a private Hub repository and back, for whoever holds the database's licence."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    constants,
    is_offline_mode,
    snapshot_download,
)
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.file_download import repo_folder_name

from hsta_hf.data.databases.folder import NAME as OWN_FOOTAGE
from hsta_hf.data.dataset_card import CARD, database_titles, dataset_card
from hsta_hf.data.prepared import MANIFEST, NotPreparedError, PreparedInfo, load_prepared, prepared_info
from hsta_hf.hub.client import (
    SWITCHED_OFF,
    PublishError,
    check_name,
    explained,
    hub_api,
    private_repository,
    refuse_offline,
)

if TYPE_CHECKING:
    from huggingface_hub import DatasetInfo

# `datasets` opens nothing without its two files, and hsta-hf nothing without the manifest. They arrive together, last.
_LAST = ("dataset_info.json", "state.json", MANIFEST)
# What `datasets` may leave in a folder that it has open, what the operating system leaves, and the card, which is new.
_NOT_THEIRS = ("cache-*.arrow", "tmp*", ".DS_Store", "Thumbs.db", CARD)
_ON_THE_HUB = "hf://datasets/"
_WIDTH = 79  # columns of the warning
_READERS = (
    "A private repository can be read by every member of its organisation, and by the company that runs the Hub."
)
_HUB_FILES = (".gitattributes", CARD)


class LicenceError(PublishError):
    """Nobody said that they hold the licence; the message is the warning about it."""


@dataclass(frozen=True)
class PushedDataset:
    """What a push came to.

    Attributes:
        repo_id: The repository, `org/name`.
        url: Where it can be looked at.
        commit: Its newest commit; give it to `pull_prepared` as `revision` to get these very files.
        created: Whether the repository is new.
    """

    repo_id: str
    url: str
    commit: str
    created: bool


def licence_warning(info: PreparedInfo) -> str:
    """What has to be known before footage of the databases in a prepared dataset leaves this machine."""
    if info.synthetic:
        return f"{info.database} is synthetic: no person is in it, and no database owner's licence binds it."
    if info.database == OWN_FOOTAGE:
        words = [
            "WARNING: FOOTAGE OF PEOPLE'S FACES",
            "If you filmed it: have all people in it agreed to their pictures being kept on the Hub, for whoever may "
            "read the repository? A consent to be filmed, or to a study, need not say so.",
            "If it is somebody else's: its owner's agreement counts. In general it forbids passing the footage on, "
            "cropped, aligned or turned into arrays all the same.",
            f"{_READERS} Without that consent or agreement, do not push.",
        ]
    else:
        words = [
            f"WARNING: LICENSED FOOTAGE OF PEOPLE'S FACES ({', '.join(database_titles(info.databases))})",
            "Its owners licensed it to named researchers who signed an agreement. In general that agreement forbids "
            "passing the footage on, cropped, aligned or turned into arrays all the same, even privately, except to "
            "people who signed it too.",
            f"{_READERS} Read your agreement; if it does not allow this, do not push.",
        ]
    bar = "!" * _WIDTH
    return "\n".join([bar, *(textwrap.fill(paragraph, _WIDTH) for paragraph in words), bar])


def push_prepared(
    path: str | Path,
    repo_id: str,
    *,
    i_hold_the_licence: bool = False,
    token: str | None = None,
    overwrite: bool = False,
) -> PushedDataset:
    """Push a prepared dataset to a private dataset repository of the Hub.

    The folder goes as it is, contact sheets included: they show nothing that the frames do not. A card with the
    warning comes first, the manifest last, so that an upload that broke off does not open as a dataset, and the same
    call continues it: what has arrived is not sent again.

    Args:
        path: What `hsta prepare` wrote.
        repo_id: `org/name`. Made, and made private, if it does not exist.
        i_hold_the_licence: You signed the database owner's agreement, and it allows this; of footage of your own, the
            people in it consented. Synthetic data needs no such word.
        token: Token of the Hub; None takes the one of `hf auth login` or of the variable HF_TOKEN.
        overwrite: Replace what else the repository holds. The Hub keeps the former commits.

    Returns:
        Where it is.

    Raises:
        NotPreparedError: the folder is no finished prepared dataset.
        LicenceError: `i_hold_the_licence` is not set; the message is `licence_warning`.
        PublishError: the repository is public, is not yours, or holds something else; nobody is logged in; the Hub is
            switched off or cannot be reached; or the upload broke off.
    """
    path = Path(path)
    info = prepared_info(path)
    load_prepared(path)
    check_name(repo_id)
    refuse_offline()
    if not info.synthetic and not i_hold_the_licence:
        if_so = "you signed the agreement and it allows this"
        if info.database == OWN_FOOTAGE:
            if_so = "the people in it agreed to this"
        raise LicenceError(f"{licence_warning(info)}\nNothing was pushed. If {if_so}, say so: --i-hold-the-licence.")
    api = hub_api(token)
    what = f"{path} could not be pushed to {repo_id}"
    with explained(what, "No clip was sent; repeat the command later.") as attempt:
        created = private_repository(api, repo_id, "dataset").created
        local = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
        stale = _stale_files(api, repo_id, path, local, overwrite)
        if stale is not None:  # else the card that is there may have been edited
            card = CommitOperationAdd(CARD, dataset_card(info, path, repo_id).encode())
            api.create_commit(
                repo_id,
                [card, *(CommitOperationDelete(name, is_folder=False) for name in stale)],
                commit_message="Say what this is, and what its licence asks",
                repo_type="dataset",
            )
        attempt.next_step = (
            "What has arrived stays and the same command goes on from there; until the last file is there, the "
            "repository does not open as a dataset."
        )
        api.upload_folder(
            repo_id=repo_id,
            folder_path=path,
            repo_type="dataset",
            ignore_patterns=[*_LAST, *_NOT_THEIRS],
            commit_message="Frames and reports",
        )
        commit = api.create_commit(
            repo_id,
            [CommitOperationAdd(name, path / name) for name in _LAST],
            commit_message=f"Dataset {info.fingerprint}, whole",
            repo_type="dataset",
        )
    return PushedDataset(repo_id, f"{api.endpoint}/datasets/{repo_id}", commit.oid, created)


def pull_prepared(repo_id: str, revision: str | None = None, token: str | None = None) -> Path:
    """Download a prepared dataset that `push_prepared` pushed, or take it from the cache.

    Args:
        repo_id: `org/name` on the Hub.
        revision: Branch, tag or commit; None takes the newest.
        token: Token of the Hub; None takes the one of `hf auth login` or of the variable HF_TOKEN.

    Returns:
        The folder, for `load_prepared`. It is in the Hub's cache: only to be read.

    Raises:
        PublishError: the repository cannot be read, or holds no whole prepared dataset of this format.
    """
    check_name(repo_id)
    what = f"the dataset {repo_id} could not be pulled"
    with explained(what, "Nothing was downloaded; repeat the command later.") as attempt:
        try:
            place = Path(snapshot_download(repo_id, repo_type="dataset", revision=revision, token=token))
        except LocalEntryNotFoundError as error:
            if not is_offline_mode():
                raise
            there = f"{repo_id}{f' at {revision}' if revision else ''}"
            raise PublishError(
                f"{what}: {SWITCHED_OFF}, and {there} is not in its cache. Unset the variable to download it"
            ) from error
        finally:
            if _in_cache(repo_id):
                attempt.next_step = "The same command goes on from where it stopped."
    try:
        load_prepared(place)
    except NotPreparedError as error:
        raise PublishError(
            f"the repository {repo_id}{f' at {revision}' if revision else ''} does not open as a prepared dataset "
            f"({error}). If its upload broke off, whoever pushed it has to repeat hsta push-dataset."
        ) from error
    return place


def prepared_folder(where: str | Path) -> Path:
    """The folder of a prepared dataset that is either here or on the Hub.

    Args:
        where: A folder, or `hf://datasets/ORG/NAME`, with `@REVISION` behind it if it is not the newest. (ORG/NAME
            alone is a folder: a slip in a path is not to become a download of somebody else's data.)

    Returns:
        The folder itself, whether or not it exists; or the one that the Hub's dataset was pulled to.

    Raises:
        PublishError: it is on the Hub and cannot be pulled.
    """
    if not str(where).startswith(_ON_THE_HUB):
        return Path(where)
    repo_id, _, revision = str(where).removeprefix(_ON_THE_HUB).partition("@")
    return pull_prepared(repo_id, revision or None)


def _in_cache(repo_id: str) -> bool:
    """Whether any content of the dataset has arrived here, of files that are not whole, too."""
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type="dataset")
    files = (file for kind in ("blobs", "snapshots") for file in (folder / kind).rglob("*"))
    return any(file.is_file() and file.stat().st_size for file in files)


def _stale_files(api: HfApi, repo_id: str, path: Path, local: set[str], overwrite: bool) -> list[str] | None:
    """Files of the repository that have to go before new ones come; None where it holds the whole of this dataset.

    There are none to go where the repository is new, or an earlier push of this dataset broke off.
    """
    about: DatasetInfo = api.dataset_info(repo_id)
    remote = {sibling.rfilename for sibling in about.siblings or ()} - set(_HUB_FILES)
    if MANIFEST in remote:
        there = Path(api.hf_hub_download(repo_id, MANIFEST, repo_type="dataset", revision=about.sha))
        if there.read_bytes() == (path / MANIFEST).read_bytes():
            return None
    others = sorted(remote - local)
    if MANIFEST not in remote and not others:
        return []
    if not overwrite:
        what = "another prepared dataset"
        if MANIFEST not in remote:
            what = f"files that {path} does not have ({', '.join(others[:5])})"
        raise PublishError(
            f"the repository {repo_id} holds {what}: nothing was pushed. Choose another name, or replace it: "
            "--overwrite (the Hub keeps the former commits)."
        )
    return sorted({*others, *(remote & set(_LAST))})
