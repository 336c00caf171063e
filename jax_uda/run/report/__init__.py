"""What a run shows: progress lines, metric files, tables and figures."""
