"""The stand-in for the Hub does what the real client of the Hub asks of it, for repositories of every type."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import STRANGER, HubServer
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RemoteEntryNotFoundError, RepositoryNotFoundError


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as server:
        server.point_client(monkeypatch, tmp_path / "hub_cache")
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "up" / "sub").mkdir(parents=True)
    (tmp_path / "up" / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "up" / "sub" / "model.safetensors").write_bytes(bytes(range(256)) * 2000)
    (tmp_path / "up" / "README.md").write_text("---\nlicense: other\n---\n", encoding="utf-8")
    return tmp_path / "up"


@pytest.mark.parametrize(("kind", "options"), [("model", {}), ("dataset", {}), ("space", {"space_sdk": "gradio"})])
def test_every_type_of_repository_takes_and_gives_files(hub: HubServer, folder: Path, kind: str, options: dict):
    api = HfApi()
    assert api.whoami()["name"] == "alice"
    api.create_repo("alice/thing", repo_type=kind, private=True, **options)
    first = api.upload_folder(repo_id="alice/thing", folder_path=folder, repo_type=kind).oid
    api.create_tag("alice/thing", tag="v1", repo_type=kind)
    api.upload_file(path_or_fileobj=b"[]", path_in_repo="config.json", repo_id="alice/thing", repo_type=kind)
    api.delete_file("README.md", "alice/thing", repo_type=kind)
    info = api.repo_info("alice/thing", repo_type=kind)
    assert (info.private, sorted(s.rfilename for s in info.siblings or ())) == (
        True,
        ["config.json", "sub/model.safetensors"],
    )
    assert {f.path for f in api.list_repo_tree("alice/thing", repo_type=kind)} == {"config.json", "sub"}
    assert [ref.name for ref in api.list_repo_refs("alice/thing", repo_type=kind).tags] == ["v1"]
    for revision, config in (("main", "[]"), ("v1", "{}"), (first, "{}")):
        pulled = Path(api.snapshot_download("alice/thing", repo_type=kind, revision=revision))
        assert (pulled / "config.json").read_text(encoding="utf-8") == config
        assert (pulled / "README.md").exists() == (revision != "main")
        assert (pulled / "sub" / "model.safetensors").read_bytes() == bytes(range(256)) * 2000
    with pytest.raises(RemoteEntryNotFoundError):
        api.hf_hub_download("alice/thing", "nothing.txt", repo_type=kind)
    api.delete_repo("alice/thing", repo_type=kind)
    assert not api.repo_exists("alice/thing", repo_type=kind)


def test_tokens_decide_who_sees_and_writes_what(hub: HubServer, folder: Path):
    HfApi().create_repo("lab/closed", private=True)
    HfApi().create_repo("lab/open", private=False)
    stranger, unknown = HfApi(token=STRANGER), HfApi(token="hf_wrong")
    assert stranger.repo_info("lab/open").private is False
    with pytest.raises(RepositoryNotFoundError):
        stranger.repo_info("lab/closed")
    for refused in (
        lambda: stranger.upload_folder(repo_id="lab/open", folder_path=folder),
        lambda: stranger.create_repo("lab/new"),
        lambda: unknown.whoami(),
        lambda: HfApi().create_repo("lab/open"),
    ):
        with pytest.raises(HfHubHTTPError, match=r"40[139]|Invalid user token"):
            refused()
    assert hub.repository("lab/open", "models").files() == {}
    assert str(HfApi().create_repo("lab/open", exist_ok=True)).endswith("/lab/open")


def test_a_connection_is_cut_in_the_middle_of_an_upload_and_a_commit_that_came_between_is_noticed(
    hub: HubServer, folder: Path
):
    api = HfApi()
    before = api.create_repo("alice/thing") and api.repo_info("alice/thing").sha
    hub.cut("/lfs/[0-9a-f]+$", after=1000)
    with pytest.raises(RuntimeError, match=r"Error while uploading 'sub/model\.safetensors'"):
        api.upload_folder(repo_id="alice/thing", folder_path=folder)
    assert hub.uploads == {}
    assert hub.repository("alice/thing", "models").files() == {}
    hub.mend()
    api.upload_folder(repo_id="alice/thing", folder_path=folder)
    with pytest.raises(HfHubHTTPError, match="412"):
        api.upload_folder(repo_id="alice/thing", folder_path=folder / "sub", parent_commit=before)


def test_a_download_goes_on_from_where_it_stopped(hub: HubServer, folder: Path):
    from huggingface_hub import get_session

    api = HfApi()
    api.create_repo("alice/thing")
    api.upload_folder(repo_id="alice/thing", folder_path=folder)
    answer = get_session().get(
        f"{hub.url}/alice/thing/resolve/main/sub/model.safetensors", headers={"Range": "bytes=511000-"}
    )
    assert (answer.status_code, answer.headers["Content-Range"]) == (206, "bytes 511000-511999/512000")
    assert answer.content == (folder / "sub" / "model.safetensors").read_bytes()[511000:]
