"""The same as `hsta push …`; `hsta push --help` shows how."""

import sys

sys.path.pop(0)  # this folder: its evaluate.py would hide the package of that name

from hsta_hf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["push", *sys.argv[1:]]))
