"""`hsta ablate`: run tables of the paper and print them beside its figures.

    hsta ablate table2 table3 --database data/casme3 --output runs/paper
    hsta ablate table2 --database data/casme3_flow --recipe casme3_flow_small --output runs/small --rows a1 a6
    hsta ablate table1 table4 --database data/casme3 --output runs/paper --protocol kfold-subjects published
    hsta ablate table7 --database data/casme3 --macro_database data/casme3_macro --output runs/paper
    hsta ablate table5 --database data/megc2019 --output runs/megc --seeds 1 2 3 --runner ray

Every row is the recipe with the row's own fields, a run folder of its own, and a line of the table. Rows with the same
settings are one run. What is finished is not run again; a row that fails is named, and the others go on. Any other
`--field value` is a field of all rows' recipes, as in `hsta train`.
"""

from __future__ import annotations

import argparse
import sys

TABLES = tuple(f"table{number}" for number in range(1, 8))


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add `hsta ablate` to the command line."""
    parser = subparsers.add_parser(
        "ablate",
        help="run tables of the paper and print them beside its figures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("tables", nargs="+", choices=TABLES, metavar="table1 … table7", help="which tables to run")
    parser.add_argument(
        "--database",
        "--dataset",
        required=True,
        metavar="DATASET",
        help="prepared dataset: a folder that `hsta prepare` wrote, or hf://datasets/ORG/NAME",
    )
    parser.add_argument("--output", default="runs/ablation", metavar="DIR", help="folder of all runs and tables")
    parser.add_argument(
        "--recipe", default="casme3_paper", help="YAML file or name of the recipe that the rows change (casme3_paper)"
    )
    parser.add_argument(
        "--protocol",
        nargs="+",
        default=[],
        help="how clips are split; several are run one beside the other. `published` is each table's own. By default "
        "that, but kfold-subjects where its folds share subjects",
    )
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="run only these rows, such as a1 a6")
    parser.add_argument(
        "--macro_database",
        metavar="DATASET",
        help="prepared macro-expressions, for the rows of table 7 that train on them",
    )
    parser.add_argument(
        "--note",
        action="append",
        default=[],
        metavar="TEXT",
        help="a reason of your own why figures are not comparable, printed as a note; may be repeated",
    )
    parser.add_argument(
        "--dry_run", action="store_true", help="list rows, fields, runs and parameter counts, and run nothing"
    )
    parser.set_defaults(overrides=(), takes_overrides=True)


def run(args: argparse.Namespace) -> int:
    """Run the tables; 0 when every row asked for is done, 1 when one is not, or the command cannot be understood."""
    from pathlib import Path

    from accelerate import PartialState

    from hsta_hf.ablation.dataset_facts import FactsReader
    from hsta_hf.ablation.dry_run import dry_run_text
    from hsta_hf.ablation.plan import AblationOptions, make_plan
    from hsta_hf.ablation.rendering import as_markdown, write_tables
    from hsta_hf.ablation.results import measured_tables
    from hsta_hf.ablation.running import Outcomes, run_plan, unfinished

    options = AblationOptions(
        tables=tuple(args.tables),
        dataset=args.database,
        output=Path(args.output),
        recipe=args.recipe,
        protocols=tuple(args.protocol),
        rows=None if args.rows is None else tuple(args.rows),
        macro_dataset=args.macro_database,
        overrides=tuple(args.overrides),
        notes=tuple(args.note),
    )
    facts = FactsReader()

    def write(outcomes: Outcomes) -> None:
        write_tables(options.output, measured_tables(plan, outcomes, facts))

    try:
        plan = make_plan(options)
        if args.dry_run:
            print(dry_run_text(plan))
            return 0
        for planned in plan.rows:  # a dataset that cannot be read is an error before anything is run
            if planned.recipe is not None and planned.asked:
                facts.of(planned.recipe.data)
        outcomes = run_plan(plan, facts, write)
    except (ValueError, FileNotFoundError) as error:
        print(f"hsta ablate: {error}", file=sys.stderr)
        return 1
    if not PartialState().is_main_process:
        return 0
    tables = measured_tables(plan, outcomes, facts)
    files = write_tables(options.output, tables)
    print("\n".join(["", *(as_markdown(table) for table in tables), f"Tables: {', '.join(map(str, files))}"]))
    missing = unfinished(outcomes, plan)
    for folder, why in missing.items():
        rows = ", ".join(planned.title for planned in plan.runs[folder])
        print(f"hsta ablate: {rows} is not finished: {why}", file=sys.stderr)
    if missing:
        print("hsta ablate: the same command runs what is missing.", file=sys.stderr)
    return 1 if missing else 0
