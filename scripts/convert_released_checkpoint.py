"""`python scripts/convert_released_checkpoint.py --checkpoint FILE --output DIR --video_heads 12 --special_heads 12`
`python scripts/convert_released_checkpoint.py --to_released --checkpoint DIR --output FILE`

The same as `hsta convert …`; `hsta convert --help` shows the other options.
"""

import sys

sys.path.pop(0)  # this folder: its evaluate.py would hide the package of that name

from hsta_hf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))
