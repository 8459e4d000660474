"""``python -m alp_coffea.run ANALYSIS.yaml -o OUT``: the same as ``alp-coffea run``."""

from __future__ import annotations

import sys

from alp_coffea.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
