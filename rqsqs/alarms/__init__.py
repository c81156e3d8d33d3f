"""Alarms: what they measure, how they are evaluated, and what they do. The data is in rqsqs.alarm_models."""
