"""What people are shown of queues and messages, and how it is worded: for the command line and the console."""
