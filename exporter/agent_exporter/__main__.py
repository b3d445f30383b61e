"""`python -m agent_exporter`."""

from agent_exporter.cli import main

if __name__ == "__main__":
    main()
