"""Requests and responses of SQS and CloudWatch as bytes."""
