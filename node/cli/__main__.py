"""`python -m node.cli` is the same as `hedgerow`."""

from node.cli import main

main()
