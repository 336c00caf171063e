"""`report.html`: what was run, what came of it, and pictures, in one file that needs no network."""
