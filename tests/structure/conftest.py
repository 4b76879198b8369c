"""Makes `product_source`, the reader of the product's code, importable for the tests of this folder."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
