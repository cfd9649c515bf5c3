"""`python -m opscore`: the same as the opscore command."""

from opscore.cli import main

main()
