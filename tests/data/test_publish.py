"""Pushing and pulling prepared datasets: the real client of the Hub, against a stand-in for the Hub."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import datasets
import huggingface_hub
import numpy as np
import pytest
import yaml
from hub_server import STRANGER, TOKEN, HubServer

from hsta_hf.cli.main import main
from hsta_hf.data.prepare import PrepareOptions, prepare
from hsta_hf.data.prepared import MANIFEST, NotPreparedError, clip_frames, load_prepared, prepared_info
from hsta_hf.data.publish import LicenceError, PublishError, prepared_folder, pull_prepared, push_prepared
from hsta_hf.data.synthesize import synthesize
from hsta_hf.training.clips import load_labelled_clips

REPO = "lab/faces"
OPENING = ("dataset_info.json", "state.json", MANIFEST)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight drawn clips, prepared: they say that they are synthetic."""
    folder = tmp_path_factory.mktemp("drawn")
    synthesize(folder / "database", num_subjects=2, clips_per_subject=4, size=64, num_frames=(6, 7))
    prepare("casme3", folder / "database", folder / "prepared", PrepareOptions(faces="keep"), progress=False)
    return folder / "prepared"


def changed(prepared: Path, copy: Path, **fields: object) -> Path:
    """A copy with other fields in its manifest."""
    shutil.copytree(prepared, copy)
    manifest = json.loads((copy / MANIFEST).read_text(encoding="utf-8"))
    (copy / MANIFEST).write_text(json.dumps({**manifest, **fields}), encoding="utf-8")
    return copy


@pytest.fixture
def licensed(drawn: Path, tmp_path: Path) -> Path:
    """The same clips, said to be CASME II's and those of a database that hsta-hf does not know."""
    return changed(drawn, tmp_path / "licensed", synthetic=False, database="megc2019", databases=["casme2", "own"])


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as server:
        server.point_client(monkeypatch, tmp_path / "hub_cache")
        yield server


def local_files(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def card_header(card: bytes) -> dict[str, object]:
    return yaml.safe_load(card.decode().split("---\n")[1])


def sent_bodies(hub: HubServer) -> list[str]:
    """The uploads of file contents so far."""
    return [request for request in hub.requests if request.startswith("PUT ")]


def test_a_dataset_goes_to_a_private_repository_as_it_is_and_comes_back_the_same(drawn: Path, hub: HubServer):
    pushed = push_prepared(drawn, REPO)
    repository = hub.repository(REPO)
    assert (pushed.created, repository.private, pushed.url) == (True, True, f"{hub.url}/datasets/{REPO}")
    files = repository.files()
    card = files.pop("README.md")
    assert files == local_files(drawn)
    assert any(name.startswith("contact_sheets/") for name in files)
    folder = pull_prepared(REPO)
    assert prepared_info(folder) == prepared_info(drawn)
    for row, copy in zip(load_prepared(drawn), load_prepared(folder), strict=True):
        assert np.array_equal(clip_frames(row), clip_frames(copy))
    assert card_header(card)["viewer"] is False
    assert b"Synthetic" in card and b"redistribution" not in card


def test_the_manifest_comes_last_and_the_card_first(drawn: Path, hub: HubServer):
    push_prepared(drawn, REPO)
    commits = list(hub.repository(REPO).commits.values())
    assert set(commits[1]) == {"README.md"}
    assert set(commits[-1]) - set(commits[-2]) == set(OPENING)
    assert len(commits) == 4


def test_licensed_footage_is_refused_loudly_without_the_word(licensed: Path, hub: HubServer):
    with pytest.raises(LicenceError) as error:
        push_prepared(licensed, REPO)
    message = str(error.value)
    for part in (
        "WARNING: LICENSED FOOTAGE OF PEOPLE'S FACES (CASME II, own)",
        "named researchers",
        "even privately",
        "Nothing was pushed",
        "--i-hold-the-licence",
    ):
        assert part in message
    assert hub.requests == []


def test_of_footage_of_ones_own_it_asks_for_the_consent_of_the_people_in_it(
    drawn: Path, hub: HubServer, tmp_path: Path
):
    own = changed(drawn, tmp_path / "own", synthetic=False, database="folder", databases=["folder"])
    with pytest.raises(LicenceError) as error:
        push_prepared(own, REPO)
    message = " ".join(str(error.value).split())
    for part in (
        "WARNING: FOOTAGE OF PEOPLE'S FACES",
        "have all people in it agreed",
        "Nothing was pushed. If the people in it agreed to this, say so: --i-hold-the-licence.",
    ):
        assert part in message
    assert "LICENSED" not in message and "named researchers" not in message
    assert hub.requests == []
    push_prepared(own, REPO, i_hold_the_licence=True)
    card = hub.repository(REPO).files()["README.md"]
    assert card_header(card)["license_name"] == "consent-of-the-people-filmed"
    assert b"Not for redistribution" in card and b"consent of those filmed" in card and b"licensed" not in card


def test_with_the_word_it_goes_with_a_card_that_forbids_passing_it_on(licensed: Path, hub: HubServer):
    push_prepared(licensed, REPO, i_hold_the_licence=True)
    assert hub.repository(REPO).private
    card = hub.repository(REPO).files()["README.md"]
    header = card_header(card)
    assert (header["license"], header["viewer"]) == ("other", False)
    assert header["license_name"] == "agreement-with-the-database-owners"
    for part in (b"Not for redistribution", b"8 clips of 2 subjects", prepared_info(licensed).fingerprint.encode()):
        assert part in card


def test_a_public_repository_is_refused(drawn: Path, hub: HubServer):
    from huggingface_hub import HfApi

    HfApi().create_repo(REPO, repo_type="dataset", private=False)
    with pytest.raises(PublishError, match="lab/faces is PUBLIC: nothing was pushed"):
        push_prepared(drawn, REPO)
    assert hub.repository(REPO).files() == {}


def test_a_new_repository_that_turns_out_public_gets_nothing(drawn: Path, hub: HubServer):
    hub.always_public = True
    with pytest.raises(PublishError, match="is PUBLIC: nothing was pushed"):
        push_prepared(drawn, REPO)
    assert hub.repository(REPO).files() == {}


def assert_opens_nowhere(hub: HubServer, folder: Path) -> None:
    """What is at the stand-in is no dataset, for hsta-hf and for `datasets`."""
    with pytest.raises(PublishError, match="does not open as a prepared dataset"):
        pull_prepared(REPO)
    for name, content in hub.repository(REPO).files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    with pytest.raises(FileNotFoundError):
        datasets.load_from_disk(str(folder))


@pytest.mark.parametrize(
    ("path", "after", "skip"),
    [
        ("/lfs/[0-9a-f]+$", 1000, 0),  # in the middle of the first large file
        ("/lfs/[0-9a-f]+$", 0, 1),  # one large file arrives, the next does not
        ("/commit/main$", 10, 1),  # while the frames are committed
        ("/commit/main$", 10, 2),  # at the very last step
    ],
)
def test_an_upload_that_breaks_off_does_not_open_and_is_continued(
    drawn: Path, hub: HubServer, tmp_path: Path, path: str, after: int, skip: int
):
    hub.cut(path, after, skip)
    with pytest.raises(PublishError, match=r"could not be pushed to lab/faces: .*the same command goes on from there"):
        push_prepared(drawn, REPO)
    assert_opens_nowhere(hub, tmp_path / "half")
    arrived = {hashlib.sha256(content).hexdigest() for content in hub.uploads.values()}
    hub.mend()
    before = len(hub.requests)
    assert not push_prepared(drawn, REPO).created
    again = {request.rsplit("/", 1)[1] for request in hub.requests[before:] if request.startswith("PUT ")}
    assert not again & arrived
    assert prepared_info(pull_prepared(REPO)) == prepared_info(drawn)


def test_a_push_repeated_sends_nothing_and_leaves_an_edited_card_alone(drawn: Path, hub: HubServer):
    from huggingface_hub import HfApi

    push_prepared(drawn, REPO)
    HfApi().upload_file(
        path_or_fileobj=b"---\nviewer: false\n---\nOurs.", path_in_repo="README.md", repo_id=REPO, repo_type="dataset"
    )
    commits, sent = len(hub.repository(REPO).commits), len(sent_bodies(hub))
    push_prepared(drawn, REPO)
    assert len(hub.repository(REPO).commits) == commits
    assert len(sent_bodies(hub)) == sent
    assert hub.repository(REPO).files()["README.md"].endswith(b"Ours.")


def test_another_dataset_is_replaced_only_when_asked_and_never_half(drawn: Path, hub: HubServer, tmp_path: Path):
    other = changed(drawn, tmp_path / "other", fingerprint="0123456789abcdef")
    (other / "contact_sheets" / "more.txt").write_text("more", encoding="utf-8")
    first = push_prepared(other, REPO).commit
    with pytest.raises(PublishError, match=r"holds another prepared dataset: nothing was pushed.*--overwrite"):
        push_prepared(drawn, REPO)
    assert hub.repository(REPO).resolve("main") == first
    hub.cut("/commit/main$", skip=1)
    with pytest.raises(PublishError, match="could not be pushed"):
        push_prepared(drawn, REPO, overwrite=True)
    assert_opens_nowhere(hub, tmp_path / "half")
    hub.mend()
    push_prepared(drawn, REPO)  # the old one is gone already: there is nothing left to be asked about
    files = hub.repository(REPO).files()
    del files["README.md"]
    assert files == local_files(drawn)
    assert prepared_info(pull_prepared(REPO, revision=first)) == prepared_info(other)


def test_files_of_somebody_else_are_not_overwritten(drawn: Path, hub: HubServer):
    from huggingface_hub import HfApi

    HfApi().create_repo(REPO, repo_type="dataset", private=True)
    HfApi().upload_file(path_or_fileobj=b"x", path_in_repo="thesis.tex", repo_id=REPO, repo_type="dataset")
    with pytest.raises(PublishError, match=r"holds files that .* does not have \(thesis\.tex\): nothing was pushed"):
        push_prepared(drawn, REPO)
    assert set(hub.repository(REPO).files()) == {"thesis.tex"}


def test_caches_that_datasets_left_in_the_folder_stay_here(drawn: Path, hub: HubServer, tmp_path: Path):
    folder = changed(drawn, tmp_path / "used")
    (folder / "cache-0123.arrow").write_bytes(b"cache")
    push_prepared(folder, REPO)
    assert "cache-0123.arrow" not in hub.repository(REPO).files()


@pytest.mark.parametrize(("token", "said"), [("hf_wrong", "Invalid credentials"), (STRANGER, "Forbidden")])
def test_a_token_that_does_not_allow_it_is_said_to_be_the_reason(drawn: Path, hub: HubServer, token: str, said: str):
    with pytest.raises(PublishError, match=rf"could not be pushed to lab/faces: .*{said}.*log in with"):
        push_prepared(drawn, REPO, token=token)
    assert hub.repositories == {}


def test_a_dataset_can_be_named_where_a_folder_can(drawn: Path, hub: HubServer, tmp_path: Path):
    first = push_prepared(drawn, REPO).commit
    other = changed(drawn, tmp_path / "other", fingerprint="0123456789abcdef")
    push_prepared(other, REPO, overwrite=True)
    assert prepared_info(prepared_folder("hf://datasets/lab/faces")) == prepared_info(other)
    assert prepared_info(prepared_folder(f"hf://datasets/lab/faces@{first}")) == prepared_info(drawn)
    with pytest.raises(PublishError, match="no such repository or revision"):
        prepared_folder("hf://datasets/lab/faces@never")
    assert len(load_labelled_clips("hf://datasets/lab/faces", "casme3_7")) == 8  # what training opens
    asked = len(hub.requests)
    assert prepared_folder(drawn) == drawn
    assert prepared_folder("lab/faces") == Path("lab/faces")  # a path, whatever the Hub has
    assert len(hub.requests) == asked


def test_a_stranger_neither_pulls_nor_pushes_what_is_private(drawn: Path, hub: HubServer, tmp_path: Path):
    push_prepared(drawn, REPO)
    shutil.rmtree(tmp_path / "hub_cache", ignore_errors=True)
    with pytest.raises(PublishError, match="no such repository or revision, or the token does not allow this"):
        pull_prepared(REPO, token=STRANGER)
    with pytest.raises(PublishError, match=r"could not be pushed|exists and you may not read it"):
        push_prepared(drawn, REPO, token=STRANGER)


def test_nobody_logged_in(drawn: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(PublishError, match="nobody is logged in to the Hub: run `hf auth login`"):
        push_prepared(drawn, REPO)
    assert hub.requests == []


@pytest.mark.parametrize("name", ["faces", "lab/faces/more", "lab/fa ces"])
def test_impossible_names_are_refused_before_anything_is_sent(drawn: Path, hub: HubServer, name: str):
    with pytest.raises(PublishError, match=r"no name of a Hub repository|names no owner"):
        push_prepared(drawn, name)
    assert hub.requests == []


def test_a_folder_that_is_not_whole_is_not_pushed(drawn: Path, hub: HubServer, tmp_path: Path):
    folder = changed(drawn, tmp_path / "torn")
    (folder / "state.json").unlink()
    with pytest.raises(NotPreparedError):
        push_prepared(folder, REPO)
    assert hub.requests == []


def test_the_hub_cannot_be_reached(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with HubServer() as gone:
        gone.point_client(monkeypatch, tmp_path / "cache")
    with pytest.raises(PublishError, match=r"could not be pulled: .*refused.*\. Nothing was downloaded; repeat"):
        pull_prepared(REPO)
    with pytest.raises(PublishError, match=r"could not be pushed to .*refused.*\. No clip was sent; repeat"):
        push_prepared(drawn, REPO)


def test_what_has_arrived_of_a_pull_is_said_to_stay(drawn: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch):
    push_prepared(drawn, REPO)
    first = pull_prepared(REPO, hub.repository(REPO).resolve("main"))
    (first / MANIFEST).unlink()
    monkeypatch.setattr(
        "hsta_hf.data.publish.snapshot_download", lambda *_, **__: (_ for _ in ()).throw(ConnectionError("gone"))
    )
    with pytest.raises(PublishError, match=r"could not be pulled: gone\. The same command goes on from where it"):
        pull_prepared(REPO)


def test_a_hub_that_is_switched_off_is_called_that_at_once(
    licensed: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch
):
    push_prepared(licensed, REPO, i_hold_the_licence=True)
    folder = pull_prepared(REPO)
    before = len(hub.requests)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PublishError, match=r"switched off .* \(HF_HUB_OFFLINE is set\): nothing was pushed"):
        push_prepared(licensed, "lab/other")
    with pytest.raises(PublishError, match=r"switched off .*, and lab/other is not in its cache") as error:
        pull_prepared("lab/other")
    assert "goes on" not in str(error.value)
    assert pull_prepared(REPO) == folder  # what is here needs no Hub
    assert len(hub.requests) == before


def test_the_commands_warn_refuse_push_and_pull(licensed: Path, hub: HubServer, capsys: pytest.CaptureFixture[str]):
    assert main(["push-dataset", str(licensed), REPO]) == 1
    assert "LICENSED FOOTAGE" in capsys.readouterr().err
    assert hub.repositories == {}
    assert main(["push-dataset", str(licensed), REPO, "--i-hold-the-licence"]) == 0
    said = capsys.readouterr()
    assert "LICENSED FOOTAGE" in said.err
    assert f"Pushed 8 clips to {hub.url}/datasets/lab/faces, a new private repository" in said.out
    assert main(["pull-dataset", REPO]) == 0
    assert len(load_prepared(capsys.readouterr().out.strip())) == 8
    assert main(["pull-dataset", "lab/nothing"]) == 1
    assert "hsta pull-dataset: the dataset lab/nothing could not be pulled" in capsys.readouterr().err


@pytest.mark.slow
def test_another_process_pushes_with_nothing_but_the_hubs_own_variables(drawn: Path, tmp_path: Path):
    code = "import sys; from hsta_hf.cli.main import main; sys.exit(main())"
    with HubServer() as server:
        done = subprocess.run(
            [sys.executable, "-c", code, "push-dataset", str(drawn), REPO],
            env={**os.environ, **server.environment(tmp_path / "home", TOKEN)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert "synthetic" in done.stderr
        assert set(server.repository(REPO).files()) == {*local_files(drawn), "README.md"}
