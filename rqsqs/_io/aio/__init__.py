"""The asyncio runner and its connections. Each module has its twin in rqsqs/_io/sync, which describes what both do."""
