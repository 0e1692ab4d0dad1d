"""Push a run's model to the Hub, with its card and its scores.

    hsta push runs/casme3 --repo my-lab/hsta-casme3 --license cc-by-nc-4.0             # private
    hsta push runs/casme3 --repo my-lab/hsta-casme3 --license cc-by-nc-4.0 --tag v1 --public
    hsta push runs/casme3 --repo my-lab/hsta-casme3 --license cc-by-nc-4.0 --dry-run   # only look at it

Interrupted, the same command continues; until its last step the repository is as it was.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `hsta push` to the command line."""
    parser = subparsers.add_parser(
        "push",
        help="push a run's model to the Hub, with its card and scores",
        description=f"{__doc__}\nPushed are weights (safetensors), configuration, processor, code files, the model "
        "card, and metrics.json without\nthe subjects' names; never predictions. Log in with `hf auth login`, or set "
        "HF_TOKEN.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, help="run folder, the --output_dir of hsta train")
    parser.add_argument("--repo", required=True, metavar="ORG/NAME", help="model repository, made if there is none")
    parser.add_argument(
        "--fold", type=int, help="push this fold's model (default: the final model, or else the first fold's)"
    )
    parser.add_argument(
        "--seed", type=int, help="of that fold's trainings the one with this seed (default: the first)"
    )
    parser.add_argument("--public", action="store_true", help="let everybody see it; without this it is private")
    parser.add_argument("--revision", metavar="BRANCH", help="branch to push to (default: main)")
    parser.add_argument("--tag", help="name for the pushed state, for from_pretrained(…, revision=TAG)")
    parser.add_argument(
        "--license", help="licence of the weights as the Hub spells it (cc-by-nc-4.0, mit, …), or other"
    )
    parser.add_argument("--license-name", metavar="NAME", help="name of the licence, with --license other")
    parser.add_argument("--license-link", metavar="ADDRESS", help="where that licence can be read")
    parser.add_argument("--hardware", metavar="TEXT", help="what the training ran on, where the run did not note it")
    parser.add_argument("--overwrite", action="store_true", help="replace a card that was edited in the repository")
    parser.add_argument("--dry-run", action="store_true", help="print the files and the card; send nothing")


def run(args: argparse.Namespace) -> int:
    """Push; 0 when the model is there, 1 when it was refused or the connection broke off."""
    from hsta_hf.hub.client import check_name
    from hsta_hf.hub.push import Destination, push_model
    from hsta_hf.hub.run_model import run_model
    from hsta_hf.reporting.publication import Publication

    try:
        check_name(args.repo)
        publication = Publication(args.repo, args.license, args.license_name, args.license_link, args.hardware)
        model = run_model(args.run, publication, args.fold, args.seed)
        if args.dry_run:
            return _show(model.contents)
        pushed = push_model(model, Destination(args.repo, args.public, args.revision, args.tag, args.overwrite))
    except (ValueError, OSError) as error:
        print(f"hsta push: {error}", file=sys.stderr)
        return 1
    kind = f"a {'new ' if pushed.created else ''}{'private' if pushed.private else 'PUBLIC'} repository"
    print(
        f"Pushed {model.origin} to {pushed.url}, {kind}; commit {pushed.commit}"
        if pushed.changed
        else f"{pushed.url}, {kind}, holds this model already; commit {pushed.commit}"
    )
    which = f'revision="{args.tag or pushed.commit}", trust_remote_code=True'
    print(
        "To load exactly this (with hsta-hf installed, `import hsta_hf` does for trust_remote_code):\n"
        f'  AutoModelForVideoClassification.from_pretrained("{args.repo}", {which})\n'
        f'  AutoVideoProcessor.from_pretrained("{args.repo}", {which})\n'
        f'  pipeline("video-classification", model="{args.repo}", {which})'
    )
    return 0


def _show(contents: Mapping[str, Path | bytes]) -> int:
    for name, content in sorted(contents.items()):
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        print(f"{size:>13,}  {name}")
    card = contents["README.md"]
    print(f"\n{card.decode() if isinstance(card, bytes) else card.read_text(encoding='utf-8')}")
    return 0
