"""Run a RecBole model with or without a method on top; see README.md."""

import sys

from recbole_enhance.cli import main

if __name__ == "__main__":
    sys.exit(main())
