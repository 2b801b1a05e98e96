"""``python -m d2n``: the command line without an installed script."""

from d2n.cli import main

if __name__ == "__main__":
    main()
