"""`python -m mtl` is the same as `mtl`."""

import sys

from .cli.main import main

sys.exit(main())
