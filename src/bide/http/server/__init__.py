"""What stands between a connection and the API: connections that hold nobody up, and one guard for all requests."""
