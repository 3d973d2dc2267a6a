"""``python -m recbole_enhance``, which is what ``torchrun -m recbole_enhance`` starts."""

import sys

from recbole_enhance.cli import main

if __name__ == "__main__":
    sys.exit(main())
