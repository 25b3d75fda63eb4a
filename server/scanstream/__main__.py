"""`python -m scanstream` is the command `scanstream`."""

from scanstream.cli import main

if __name__ == "__main__":
    main()
