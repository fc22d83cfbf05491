"""`python -m worldshift.cli`: the same as `worldshift`."""

import sys

from worldshift.cli import main

sys.exit(main())
