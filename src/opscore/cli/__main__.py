"""`python -m opscore.cli` is the opscore command."""

from opscore.cli import main

main()
