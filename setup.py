"""Write the code beside the included checkpoint before it is packaged; all settings stand in pyproject.toml."""

import subprocess
import sys
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent

subprocess.run([sys.executable, str(ROOT / "hub" / "flat.py"), str(ROOT / "checkpoints" / "facts")], check=True)
setup(script_name="setup.py")  # the build leaves this file out of the package
