"""The same as `hsta evaluate …`; `hsta evaluate --help` shows how."""

import sys

from hsta_hf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
