"""`python -m rqsqs` is the command `rqsqs`."""

from rqsqs.cli import main

if __name__ == "__main__":
    main()
