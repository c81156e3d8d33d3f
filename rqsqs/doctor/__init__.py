"""Is the server fit for queues, and are the queues well? `rqsqs doctor` and the console show what is found here."""
