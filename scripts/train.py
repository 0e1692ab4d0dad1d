"""`accelerate launch scripts/train.py RECIPE.yaml [--field value …]`: the same as `hsta train …`."""

import sys

sys.path.pop(0)  # this folder: its evaluate.py would hide the package of that name

from hsta_hf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
