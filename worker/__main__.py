"""`python -m worker` is `agent-worker`."""

from worker.entrypoints.cli import main

if __name__ == "__main__":
    main()
