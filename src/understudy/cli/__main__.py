"""`python -m understudy.cli` is `understudy`."""

from . import main

main()
