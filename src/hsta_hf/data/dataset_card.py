"""The card (README.md) of a prepared dataset on the Hub: what it is, and that it must not go further."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from hsta_hf.data.databases import DATABASES, get_database
from hsta_hf.data.databases.folder import NAME as OWN_FOOTAGE
from hsta_hf.data.prepared import MANIFEST, PreparedInfo

CARD = "README.md"


def database_titles(names: Sequence[str]) -> list[str]:
    """The databases' names as people write them; a database that hsta-hf does not know goes by the name it has."""
    return [get_database(name).title if name in DATABASES else name for name in names]


def dataset_card(info: PreparedInfo, path: Path, repo_id: str) -> str:
    """Write the card.

    Args:
        info: What `prepared_info` says of the dataset.
        path: Its folder.
        repo_id: The repository that the card is for.

    Returns:
        Markdown under the YAML header that the Hub reads: licence "other", the viewer off.
    """
    manifest: dict[str, Any] = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    titles = ", ".join(database_titles(info.databases))
    licence = "agreement-with-the-database-owners"
    if info.synthetic:
        licence = "synthetic-data"
    elif info.database == OWN_FOOTAGE:
        licence = "consent-of-the-people-filmed"
    header = {
        "pretty_name": f"{titles}, prepared by hsta-hf",
        "license": "other",
        "license_name": licence,
        "viewer": False,
        "tags": ["hsta-hf", "micro-expression", *(["synthetic"] if info.synthetic else [])],
    }
    if info.synthetic:
        notice = "**Synthetic.** No person is in it: no number on it is a result on people."
    elif info.database == OWN_FOOTAGE:
        notice = (
            "> **Not for redistribution.** These are faces of real people. Keep this repository private. Give access\n"
            "> only to people whom the consent of those filmed covers (or the agreement of the footage's owner). Do\n"
            "> not copy frames or contact sheets elsewhere."
        )
    else:
        notice = (
            "> **Not for redistribution.** These are faces of real people, licensed by the database's owners to\n"
            "> named researchers. Keep this repository private. Give access only to people who signed the owners'\n"
            "> agreement themselves, and only if that agreement allows it. Do not copy frames or contact sheets\n"
            "> elsewhere."
        )
    size = "their native size" if info.size is None else f"{info.size} x {info.size} pixels"
    faces = "kept as the owner has them" if info.faces is None else "aligned by the onset frame's landmarks"
    flow = "none" if info.flow is None else f"{info.flow['method']}, onset to apex and apex to offset"
    facts = [
        f"- databases: {titles}" + (f" (variant `{info.variant}`)" if info.variant else ""),
        f"- {info.num_clips} clips of {manifest['num_subjects']} subjects; frames at {size}, uint8 RGB",
        f"- faces: {faces}; stored optical flow: {flow}",
        f"- format {info.format_version}, fingerprint `{info.fingerprint}`",
    ]
    lines = [
        f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---",
        f"\n# {titles}, prepared by hsta-hf\n",
        notice,
        "\nMicro-expression clips from onset to offset, as `hsta prepare` writes them; `report.md` says what was done "
        "to them, `contact_sheets/` shows it.\n",
        *facts,
        f"\nThe dataset is whole when `{MANIFEST}` is among the files; without it an upload is under way or broke "
        "off.\n",
        "```python",
        "from hsta_hf.data.prepared import load_prepared",
        "from hsta_hf.data.publish import pull_prepared",
        "",
        f'dataset = load_prepared(pull_prepared("{repo_id}"))',
        "```",
    ]
    return "\n".join(lines) + "\n"
