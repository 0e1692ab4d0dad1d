"""`python scripts/synthesize.py OUT …`: same as `hsta synthesize OUT …`."""

import sys

from hsta_hf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["synthesize", *sys.argv[1:]]))
