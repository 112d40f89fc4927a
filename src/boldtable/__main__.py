"""``python -m boldtable`` is the same command line as ``boldtable``."""

from boldtable.cli import main

if __name__ == "__main__":
    main()
