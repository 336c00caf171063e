"""The command line: its flags, what each mode runs, and how the process starts."""
