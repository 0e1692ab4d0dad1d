"""Pushing a run's model: the real client of the Hub, against a stand-in for the Hub."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import huggingface_hub
import pytest
from hub_server import STRANGER, TOKEN, HubServer
from huggingface_hub import HfApi, ModelCard

from hsta_hf.cli.main import main
from hsta_hf.hub.client import PublishError
from hsta_hf.hub.push import Destination, PushedModel, push_model
from hsta_hf.hub.run_model import run_model
from hsta_hf.reporting.publication import Publication

REPO = "lab/hsta-drawn"
LICENCE = "cc-by-nc-4.0"


def push(run: Path, repo: str = REPO, token: str = TOKEN, fold: int | None = None, **to: object) -> PushedModel:
    model = run_model(run, Publication(repo, LICENCE), fold)
    return push_model(model, Destination(repo, **to), token=token)  # type: ignore[arg-type]


def files(hub: HubServer, revision: str = "main", repo: str = REPO) -> dict[str, bytes]:
    return hub.repository(repo, "models").files(revision)


def model_of(run: Path, fold: int = 0) -> dict[str, bytes]:
    folder = run / "folds" / f"fold-0{fold}-seed-42" / "model"
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "README.md"}


def test_the_model_the_card_and_the_scores_arrive_in_one_commit(trained: Path, hub: HubServer) -> None:
    pushed = push(trained)
    repository = hub.repository(REPO, "models")
    assert (pushed.created, pushed.private, repository.private) == (True, True, True)
    assert pushed.commit == repository.resolve("main") and len(repository.commits) == 2
    there = files(hub)
    card, metrics = there.pop("README.md").decode(), json.loads(there.pop("metrics.json"))
    assert there == model_of(trained)
    assert {"model.safetensors", "config.json", "video_preprocessor_config.json", "modeling_hsta.py"} <= set(there)
    assert f'from_pretrained("{REPO}")' in card and "MODEL" not in card and str(trained.parent) not in card
    data = ModelCard(card).data
    written = json.loads((trained / "metrics.json").read_text())
    assert data.license == LICENCE and data.eval_results[0].metric_value == written["pooled"]["uf1"]
    assert data.eval_results[0].metric_args["interval"] == written["intervals"]["uf1"]
    assert metrics["pooled"] == written["pooled"]


def test_no_subject_is_named(trained: Path, hub: HubServer) -> None:
    push(trained)
    metrics = json.loads((trained / "metrics.json").read_text())
    subjects = {row["subject"] for row in metrics["per_subject"]}
    assert len(subjects) == 4
    for name, content in files(hub).items():
        if name.endswith((".json", ".md")):
            assert not [subject for subject in subjects if f'"{subject}"' in content.decode()], name
    published = json.loads(files(hub)["metrics.json"])
    accuracies = sorted(row["acc"] for row in metrics["per_subject"])
    assert [row["acc"] for row in published["per_subject"]] == accuracies
    assert not [name for name in files(hub) if "prediction" in name or "split" in name or "recipe" in name]


@pytest.mark.parametrize(
    ("path", "after"),
    [("/preupload/main$", 0), ("/lfs/[0-9a-f]+$", 1000), ("/commit/main$", 10)],
)
def test_an_upload_that_breaks_off_leaves_nothing_and_is_continued(
    trained: Path, hub: HubServer, path: str, after: int
) -> None:
    hub.cut(path, after)
    with pytest.raises(PublishError, match=rf"could not be pushed to {REPO}: .*Nothing of it can be seen there"):
        push(trained)
    assert files(hub) == {} and len(hub.repository(REPO, "models").commits) == 1
    arrived = {hashlib.sha256(content).hexdigest() for content in hub.uploads.values()}
    assert bool(arrived) == ("commit" in path)
    hub.mend()
    before = len(hub.requests)
    assert push(trained).changed
    again = {request.rsplit("/", 1)[1] for request in hub.requests[before:] if request.startswith("PUT /lfs/")}
    assert not again & arrived
    assert model_of(trained).items() <= files(hub).items()


@pytest.mark.parametrize("path", ["/lfs/[0-9a-f]+$", "/commit/main$"])
def test_a_replacement_that_breaks_off_leaves_the_former_model_whole(trained: Path, hub: HubServer, path: str) -> None:
    first = push(trained)
    before = files(hub)
    hub.cut(path, 10)
    with pytest.raises(PublishError, match="the repository is as it was"):
        push(trained, fold=1)
    assert files(hub) == before
    hub.mend()
    second = push(trained, fold=1)
    assert files(hub, first.commit) == before
    assert model_of(trained, 1).items() <= files(hub, second.commit).items()


def test_what_the_new_model_does_not_have_goes_in_the_same_commit_and_what_is_not_ours_stays(
    trained: Path, run: Path, hub: HubServer
) -> None:
    (run / "folds" / "fold-00-seed-42" / "model" / "older_hsta.py").write_text("OLD = 1\n")
    push(run)
    HfApi().upload_file(path_or_fileobj=b"x", path_in_repo="pictures/example.gif", repo_id=REPO)
    commits = len(hub.repository(REPO, "models").commits)
    push(trained)
    assert len(hub.repository(REPO, "models").commits) == commits + 1
    assert "older_hsta.py" not in files(hub) and "pictures/example.gif" in files(hub)


def test_a_push_repeated_changes_nothing(trained: Path, hub: HubServer) -> None:
    first = push(trained)
    second = push(trained)
    assert (second.commit, second.changed, second.created) == (first.commit, False, False)
    assert len(hub.repository(REPO, "models").commits) == 2


@pytest.mark.parametrize(("token", "said"), [("hf_wrong", "Invalid"), (STRANGER, "Forbidden")])
def test_a_token_that_does_not_allow_it_is_said_to_be_the_reason(
    trained: Path, hub: HubServer, token: str, said: str
) -> None:
    with pytest.raises(PublishError, match=rf"could not be pushed to {REPO}: .*{said}.*log in with"):
        push(trained, token=token)
    assert hub.repositories == {}


def test_a_name_that_is_somebody_elses(trained: Path, hub: HubServer) -> None:
    HfApi(token=STRANGER).create_repo("mallory/closed", private=True)
    with pytest.raises(PublishError, match=r"could not be pushed to mallory/closed: .*repositories of that owner"):
        push(trained, "mallory/closed")
    HfApi(token=STRANGER).create_repo("mallory/open", private=False)
    with pytest.raises(PublishError, match=r"could not be pushed to mallory/open: .*repositories of that owner"):
        push(trained, "mallory/open", public=True)
    assert all(set(repository.files()) == set() for repository in hub.repositories.values())


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("thesis.tex", b"x", r"\(thesis\.tex\)"),
        ("config.json", b'{"model_type": "bert"}', "a model of type bert"),
        ("config.json", b"no json", r"\(config\.json\)"),
    ],
)
def test_a_repository_of_something_else_is_left_alone(
    trained: Path, hub: HubServer, name: str, content: bytes, said: str
) -> None:
    HfApi().create_repo(REPO, private=True)
    HfApi().upload_file(path_or_fileobj=content, path_in_repo=name, repo_id=REPO)
    with pytest.raises(PublishError, match=rf"holds something else .*{said}.*nothing was pushed. Choose a name"):
        push(trained, overwrite=True)
    assert files(hub) == {name: content}


def test_it_is_public_only_if_asked_and_only_when_it_is_whole(trained: Path, hub: HubServer) -> None:
    HfApi().create_repo("lab/open", private=False)
    with pytest.raises(PublishError, match=r"model repository lab/open is PUBLIC: nothing was pushed.*--public"):
        push(trained, "lab/open")
    assert files(hub, repo="lab/open") == {}
    hub.cut("/settings$")
    with pytest.raises(PublishError, match=r"The model is there, whole, at commit .* does what is left"):
        push(trained, public=True)
    assert hub.repository(REPO, "models").private and "model.safetensors" in files(hub)
    hub.mend()
    assert not push(trained, public=True).private
    assert not hub.repository(REPO, "models").private
    assert not push(trained, "lab/open", public=True).private


def test_a_private_model_is_not_opened_by_the_push_of_another(trained: Path, hub: HubServer) -> None:
    push(trained)
    with pytest.raises(PublishError, match="is private and holds another model"):
        push(trained, fold=1, public=True)
    assert hub.repository(REPO, "models").private and len(hub.repository(REPO, "models").commits) == 2


def test_a_new_repository_that_turns_out_public_gets_nothing(trained: Path, hub: HubServer) -> None:
    hub.always_public = True
    with pytest.raises(PublishError, match="is PUBLIC: nothing was pushed"):
        push(trained)
    assert files(hub) == {}


def test_tags_pin_and_do_not_move_and_branches_keep_apart(trained: Path, hub: HubServer) -> None:
    first = push(trained, tag="v1")
    assert hub.repository(REPO, "models").tags == {"v1": first.commit}
    assert push(trained, tag="v1").commit == first.commit  # nothing has changed
    with pytest.raises(PublishError, match=r"has the tag v1 already, at commit .*: nothing was pushed"):
        push(trained, fold=1, tag="v1")
    with pytest.raises(PublishError, match="v1 is a tag"):
        push(trained, fold=1, revision="v1")
    assert hub.repository(REPO, "models").resolve("main") == first.commit
    other = push(trained, fold=1, revision="fold-1", tag="v2")
    assert hub.repository(REPO, "models").branches == {"main": first.commit, "fold-1": other.commit}
    assert push(trained, fold=1, revision="fold-1").commit == other.commit
    assert model_of(trained, 0).items() <= files(hub, "v1").items()
    assert model_of(trained, 1).items() <= files(hub, "v2").items()


def test_a_tag_that_a_cut_left_out_is_made_by_the_same_command(trained: Path, hub: HubServer) -> None:
    hub.cut("/tag/")
    with pytest.raises(PublishError, match="The model is there, whole"):
        push(trained, tag="v1")
    hub.mend()
    pushed = push(trained, tag="v1")
    assert not pushed.changed and hub.repository(REPO, "models").tags == {"v1": pushed.commit}


def test_somebody_elses_commit_in_between_is_noticed(
    trained: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(trained)
    commit = HfApi.create_commit

    def late(self: HfApi, *args: object, **kwargs: object) -> object:
        monkeypatch.setattr(HfApi, "create_commit", commit)
        HfApi().upload_file(path_or_fileobj=b"x", path_in_repo="note.txt", repo_id=REPO)
        return commit(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(HfApi, "create_commit", late)
    with pytest.raises(PublishError, match="Somebody else pushed meanwhile"):
        push(trained, fold=1)
    assert model_of(trained, 0).items() <= files(hub).items()


def test_a_card_that_was_edited_on_the_hub_is_not_written_over_unasked(trained: Path, hub: HubServer) -> None:
    push(trained)
    edited = files(hub)["README.md"] + b"\nOurs.\n"
    HfApi().upload_file(path_or_fileobj=edited, path_in_repo="README.md", repo_id=REPO)
    with pytest.raises(PublishError, match=r"card .* was edited by hand: nothing was pushed.*--overwrite"):
        push(trained, fold=1)
    assert files(hub)["README.md"] == edited
    push(trained, fold=1, overwrite=True)
    assert b"Ours" not in files(hub)["README.md"]


def test_a_licence_that_the_hub_does_not_know(trained: Path, hub: HubServer) -> None:
    model = run_model(trained, Publication(REPO, "cc-by-nc"))
    with pytest.raises(PublishError, match=r'"license" must be one of .*Nothing was pushed: put right what the Hub'):
        push_model(model, Destination(REPO))
    assert files(hub) == {} and not hub.uploads


def test_nobody_logged_in_switched_off_and_impossible_names(
    trained: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = run_model(trained, Publication(REPO, LICENCE))
    for name in ("hsta", "lab/hsta/more", "lab/h sta"):
        with pytest.raises(PublishError, match=r"no name of a Hub repository|names no owner"):
            push_model(model, Destination(name))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PublishError, match=r"switched off .*: nothing was pushed"):
        push_model(model, Destination(REPO))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(PublishError, match="nobody is logged in to the Hub: run `hf auth login`"):
        push_model(model, Destination(REPO))
    assert hub.requests == []


def test_the_hub_cannot_be_reached(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with HubServer() as gone:
        gone.point_client(monkeypatch, tmp_path / "cache")
    with pytest.raises(PublishError, match=r"could not be pushed to .*refused.*the repository is as it was"):
        push(trained)


def test_the_command_pushes_and_says_how_to_load(
    trained: Path, hub: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["push", str(trained), "--repo", REPO, "--license", LICENCE]
    assert main([*command, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "model.safetensors" in shown and f"license: {LICENCE}" in shown and hub.requests == []
    assert main([*command, "--fold", "1", "--tag", "v1"]) == 0
    said = capsys.readouterr().out
    assert f"Pushed fold-01-seed-42 to {hub.url}/{REPO}, a new private repository; commit " in said
    assert f'AutoModelForVideoClassification.from_pretrained("{REPO}", revision="v1", trust_remote_code=True)' in said
    assert main([*command, "--fold", "1"]) == 0
    assert "holds this model already" in capsys.readouterr().out
    assert main(["push", str(trained), "--repo", "lab/other"]) == 1
    assert "hsta push: a card with an unfilled field is not pushed" in capsys.readouterr().err
    assert ("models", "lab/other") not in hub.repositories
