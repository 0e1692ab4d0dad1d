"""What becomes of each code block of the documents.

- `python` blocks are run.
- `bash` blocks: every command is run, in a folder where the names that documents use are laid out (`workplace`), with
  the words of `INSTEAD` in place of placeholders and the options of `EXTRA` added, which make it small. Commands that
  a pattern of `NOT_RUN` names are only parsed: command, options, recipe and its fields, script, make target must
  exist.
- `yaml` blocks are read as what `YAML_KINDS` says.
- Blocks that are `text`, or say no language, are output, diagrams and folder trees; a command must not stand in them.

A block of another language, a command of a program that `PROGRAMS` does not have, and a pattern that fits no command
any more are failures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from documented_code.blocks import Block

SHOWN_LANGUAGES = {"", "text", "bibtex"}  # output, diagrams, trees
PROGRAMS = {"hsta", "accelerate", "python", "make", "pip", "ray", "hf", "export", "mkdocs"}

# By the first line of the block.
YAML_KINDS = {
    "# mine.yaml": "recipe",
    "smic_hs: /data/SMIC": "members",
    "compute_environment: LOCAL_MACHINE": "accelerate",
}

# Commands that are parsed and not run, by a pattern of their text, and why.
NOT_RUN = {
    r"^pip install": "installs packages",
    r"^make (setup|lint|test|test-slow|docs)$": "sets up an environment of its own, or runs these very tests",
    r"^make demo": "minutes; the steps of scripts/demo.sh are documented and run one by one",
    r"^ray |--runner ray": "starts a Ray cluster; tests/training/test_runners_ray.py does",
    r"^accelerate launch .*--(multi_gpu|use_fsdp)": "several processes; tests/test_distributed.py starts some on CPUs",
    r"^export RAY_AUTH_MODE": "for a Ray cluster",
    r"\$first-\$last": "for Slurm: the script's shell is parsed, too",
    r"^python benchmarks/|^python \.\.\.": "measures for minutes; the tests of the benchmarks run them with toy sizes",
    r"^hsta demo-app (demo/run|.*--host)": "serves until it is stopped; tests/app starts it",
    r"^hsta explain .*spNO\.1/a/2585": "names a clip of a licensed database",
    r"^hsta spot ": "needs the face detector's weights; tests/cli/test_spot.py runs it",
    r"^hf upload": "needs the real Hub",
    r"^mkdocs build": "tests/test_documentation_site.py builds the site",
}

# Names that a reader replaces, and with what, where a command is run or parsed. ROOT depends on the database.
INSTEAD: dict[str, Sequence[str]] = {
    "RECIPE": ["casme3_flow"],
    "DATA": ["data/casme3"],
    "MODEL": ["models/start"],
    "/path/to/megc2019": ["trees/megc2019"],
    "OVERRIDE": ["--model.num_hsta_layers", "8"],
    "OWNER/MODEL": ["org/hsta-casme3"],
    "LABEL_OF_ROW_0": ["negative"],
    "LABEL_OF_ROW_1": ["positive"],
    "…": [],
}

_STREAM = "hidden_size: 16, num_attention_heads: 2, intermediate_size: 16, image_size: 32, patch_size: 16"
# A training of seconds. What the command itself sets is left as it is.
TINY: dict[str, Sequence[str]] = {
    "preset": ["tiny"],
    "model.stream": ["{" + _STREAM + "}"],
    "model.num_hsta_layers": ["1"],
    "processor.size": ["{height: 32, width: 32}"],
    "processor.flow_size": ["{height: 32, width: 32}"],
    "videomae": ["null"],
    "pretrain_synthetic": ["null"],
    "num_folds": ["2"],
    "num_train_epochs": ["1"],
    "warmup_epochs": ["0"],
    "temporal_variants": ["1"],
    "random_frames": ["false"],
    "apex_jitter": ["0"],
    "disable_tqdm": ["true"],
    "use_cpu": ["true"],
    "report_to": ["none"],
}

# Options whose documented values would take minutes, and the values that they have here.
SMALLER: dict[str, str] = {
    "--subjects": "4",
    "--clips-per-subject": "7",
    "--num_train_epochs": "1",
    "--onset": "1",  # clip.mp4 has 12 frames
    "--apex": "5",
    "--offset": "10",
}

# Options added to commands that are run, by a pattern of their text: all that fit, in this order.
EXTRA: dict[str, Sequence[str]] = {
    r"^hsta synthesize ": ["--subjects", "4", "--clips-per-subject", "7", "--size", "64", "--quiet"],
    r"^hsta prepare ": ["--faces", "keep", "--size", "32", "--workers", "1"],
    r"^hsta ablate ": ["--recipe", "tiny.yaml"],
    r"^hsta ablate table2 table3 ": ["--rows", "a1", "b1"],
    r"^hsta ablate table2 .*published": ["--rows", "a1"],
    r"^hsta ablate table5 ": ["--rows", "hsta"],
    r"^hsta ablate table7 ": ["--rows", "sf-mae-oc"],
    r"--baseline ststnet": ["--baseline_options.epochs", "1"],
    r"^hsta train .*--output_dir runs/casme3( |$)": ["--num_folds", "4"],
    r"--tuning lora": ["--output_dir", "runs/lora"],
    r"--tuning frozen": ["--output_dir", "runs/frozen"],
    r"^hsta train .*(megc2019_loso|data/casme2 |--protocol loso)": ["--folds", "0", "1"],
}


@dataclass(frozen=True)
class Rule:
    """What is done with one command: `why` it is not run, or None."""

    why: str | None


def rule_of(text: str) -> Rule:
    """The rule of a command by its text."""
    return Rule(next((why for pattern, why in NOT_RUN.items() if re.search(pattern, text)), None))


def filled(words: Sequence[str]) -> list[str]:
    """The words of a command with its placeholders replaced."""
    return [new for word in words for new in (_root(words) if word == "ROOT" else INSTEAD.get(word, [word]))]


def _root(words: Sequence[str]) -> list[str]:
    """ROOT of a command: the tree of the database that it names, itself or by a recipe."""
    from hsta_hf.data.databases import DATABASES
    from hsta_hf.training.recipe_files import read_recipe_file

    name = words[words.index("ROOT") - 1]
    return [f"trees/{name if name in DATABASES else read_recipe_file(name)['prepare']['database']}"]


def made_small(words: Sequence[str]) -> list[str]:
    """The words of a command that is run, with what makes it small."""
    text = " ".join(words)
    words = [SMALLER.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    added = [
        word for pattern, extra in EXTRA.items() if re.search(pattern, text) for word in _unless_set(words, extra)
    ]
    if text.startswith("hsta train ") or "scripts/train.py " in text:
        said = {word[2:].partition("=")[0] for word in [*words, *added] if word.startswith("--")}
        for name, values in TINY.items():
            if name not in said and not any(field.startswith(f"{name}.") for field in said):
                added += [f"--{name}", *values]
    return [*words, *added]


def _unless_set(words: Sequence[str], extra: Sequence[str]) -> list[str]:
    """`extra` without the options that the command has, and their values."""
    kept: list[str] = []
    skipping = False
    for word in extra:
        if word.startswith("--"):
            skipping = word in words
        if not skipping:
            kept.append(word)
    return kept


def kind_of_yaml(block: Block) -> str | None:
    """What a `yaml` block is, or None where no rule says."""
    return YAML_KINDS.get(block.text.partition("\n")[0])
