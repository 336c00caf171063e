"""What every folder may use; imports nothing of ours."""
