"""Everything that Dagster sees: thin definitions over the rooms that do the work."""
