"""``python -m fwproof`` is ``fwproof``."""

from fwproof.cli.main import main

main()
