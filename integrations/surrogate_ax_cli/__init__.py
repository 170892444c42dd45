"""The command line, where the packages are put together."""
