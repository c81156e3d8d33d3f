"""How fast rqsqs is, measured against fixed points on the same server in the same minutes. See docs/performance.md."""
