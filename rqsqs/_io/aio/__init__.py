"""The asyncio runner and its connections; each module has its twin in rqsqs/_io/sync."""
