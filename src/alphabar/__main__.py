"""python -m alphabar."""

from .cli import main

main()
