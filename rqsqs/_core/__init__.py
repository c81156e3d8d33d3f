"""The engine without I/O: keys, records, receipts, operations and flows. Nothing here holds a connection or a clock."""
