"""The native API, made from rqsqs._async by tools/unasync.py."""
