"""The sync runner and its connections."""
