"""Metrics beyond one reading: history, and what other tools read. The numbers themselves are in rqsqs.metric_models."""
