"""IAM policies, compiled once and decided many times."""

from __future__ import annotations


class Policy:
    """A compiled policy."""
