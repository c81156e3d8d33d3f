"""The native API for asyncio, written by hand. rqsqs._sync is made from it by tools/unasync.py."""
