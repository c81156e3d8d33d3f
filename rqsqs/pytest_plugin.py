"""Fixtures for the tests of code that uses rqsqs. Loaded by pytest on its own, so importing it must stay cheap."""
