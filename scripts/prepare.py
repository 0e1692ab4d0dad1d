"""python scripts/prepare.py casme3 ROOT OUT  (the same as: hsta prepare casme3 ROOT OUT)"""

import sys

from hsta_hf.cli.main import main

sys.exit(main(["prepare", *sys.argv[1:]]))
