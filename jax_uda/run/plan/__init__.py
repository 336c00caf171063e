"""What a run will need, computed from shapes before a machine is rented: `--mode=plan`."""
