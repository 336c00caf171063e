"""HRDA (Hoyer et al., 2022): a network at two resolutions."""
