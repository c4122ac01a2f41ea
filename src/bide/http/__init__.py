"""The management API: thin, one client verb a request. `app.create_app` puts it together."""
