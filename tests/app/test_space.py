"""The exported Space holds all that it needs, and says what it is not for."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hsta_hf.app.space import export_space
from hsta_hf.cli.main import main


def front_matter(space: Path) -> dict:
    _, front, body = (space / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert "no lie detector" in body and "Article 5(1)(f)" in body and "{" not in body
    return yaml.safe_load(front)


def served(space: Path) -> tuple[str, dict[str, str]]:
    """What `app.py` serves, and its other arguments, as they stand there."""
    calls = [node for node in ast.walk(ast.parse((space / "app.py").read_text())) if isinstance(node, ast.Call)]
    (call,) = (node for node in calls if ast.unparse(node.func) == "serve")
    return ast.unparse(call.args[0]), {str(word.arg): ast.unparse(word.value) for word in call.keywords}


def test_a_hub_model_is_named_and_a_local_one_copied(plain_model: Path, tmp_path: Path) -> None:
    export_space("someone/hsta-casme3", tmp_path / "hub")
    assert served(tmp_path / "hub") == ("'someone/hsta-casme3'", {"faces": "'auto'", "face_detector": "None"})
    assert front_matter(tmp_path / "hub")["models"] == ["someone/hsta-casme3"]
    (tmp_path / "yunet.onnx").write_text("weights")
    assert main(["demo-app", str(plain_model), "--export-space", str(tmp_path / "local"), "--faces", "align",
                 "--face-detector", str(tmp_path / "yunet.onnx")]) == 0  # fmt: skip
    source, other = served(tmp_path / "local")
    assert source == "str(HERE / 'model')" and other == {
        "faces": "'align'",
        "face_detector": "HERE / 'face_detector.onnx'",
    }
    assert (tmp_path / "local" / "model" / "model.safetensors").is_file()
    assert (tmp_path / "local" / "face_detector.onnx").read_text() == "weights"
    assert "models" not in front_matter(tmp_path / "local")


def test_the_front_matter_is_what_the_hub_wants(tmp_path: Path) -> None:
    export_space("someone/model", tmp_path / "space")
    front = front_matter(tmp_path / "space")
    assert front["sdk"] == "gradio" and front["app_file"] == "app.py" and str(front["sdk_version"]).count(".") == 2
    assert isinstance(front["python_version"], str) and len(front["short_description"]) <= 60
    needed = (tmp_path / "space" / "requirements.txt").read_text().splitlines()
    assert any(line.startswith("torch>=") for line in needed) and any(line.startswith("gradio>=6") for line in needed)
    assert not any("extra ==" in line or "pytest" in line for line in needed)


@pytest.mark.slow
def test_the_copy_of_the_package_is_what_the_space_runs(tmp_path: Path) -> None:
    export_space("someone/model", tmp_path / "space")
    script = "import hsta_hf, hsta_hf.app.serving, hsta_hf.app.page; print(hsta_hf.__file__)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path / "space", env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert Path(ran.stdout.strip()).is_relative_to(tmp_path / "space")
    assert not list((tmp_path / "space").rglob("*.pyi"))


def test_what_cannot_be_exported_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(FileExistsError, match="is not empty"):
        export_space("someone/model", tmp_path / "full")
    assert main(["demo-app", "no model!", "--export-space", str(tmp_path / "space")]) == 1
    assert "neither a folder nor the name" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match=r"none\.onnx is no file"):
        export_space("someone/model", tmp_path / "space", face_detector=tmp_path / "none.onnx")
    assert not (tmp_path / "space").exists()
