"""`python -m marketplace.cli`."""

from marketplace.cli import main

if __name__ == "__main__":
    main()
