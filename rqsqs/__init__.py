"""rqsqs: Amazon SQS on the Redis you already run."""
