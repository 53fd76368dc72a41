"""The command line: the same jobs and questions as in the UI, for a terminal or a script."""
