"""`python -m worldshift.cli`: the same as `worldshift`."""

import sys

from worldshift.cli import main

sys.argv[0] = "worldshift"  # what provenance records, however it was started
sys.exit(main())
