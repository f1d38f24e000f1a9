"""`python -m mtl` is the same as `mtl`."""

import sys

from .cli import main

sys.exit(main())
