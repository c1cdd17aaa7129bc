"""`python -m genlearn` is the command `genlearn`."""

import sys

from .cli import main

sys.exit(main())
