"""The same as `hsta predict …`; `hsta predict --help` shows how."""

import sys

from hsta_hf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
