"""`python -m flows` is `aispm`."""

from flows.cli import main

main()
