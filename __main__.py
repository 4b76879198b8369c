"""`python -m planned_diffusion`: the command line without an installed script."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
