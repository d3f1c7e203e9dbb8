"""Make a virtual environment, or say what is missing: ``python3 infra/new_venv.py .venv``."""

import sys
import venv

WANTED = (3, 11)

if sys.version_info < WANTED:
    found = ".".join(map(str, sys.version_info[:3]))
    sys.exit(
        f"expected Python {WANTED[0]}.{WANTED[1]} or later, found {found} at {sys.executable}; "
        "name another one: make PYTHON=python3.12 demo"
    )
venv.create(sys.argv[1], with_pip=True, upgrade_deps=False)
