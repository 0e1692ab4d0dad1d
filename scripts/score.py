"""The same as `hsta score …`; `hsta score --help` shows how."""

import sys

sys.path.pop(0)  # this folder: evaluate.py in it would hide the package of that name

from hsta_hf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["score", *sys.argv[1:]]))
