"""The same as `hsta export …`; `hsta export --help` shows how."""

import sys

sys.path.pop(0)  # this folder: its evaluate.py would hide the package of that name

from hsta_hf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
