"""The operations of the API, each as a value with its handler."""
