"""The only place that talks to a server: connections, runners, waiting."""
