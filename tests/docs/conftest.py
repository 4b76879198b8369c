"""Makes `written_commands`, the reader of commands in pages and docstrings, importable for the tests of this folder."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
