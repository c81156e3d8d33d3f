"""Requests and responses of SQS as bytes."""
