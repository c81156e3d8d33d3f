"""SQS over HTTP: requests of any AWS SDK, signed and authorised, answered from Redis or Valkey."""
