"""The command line: flags, the commands themselves, and how the process starts."""
