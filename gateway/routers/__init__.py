"""REST, one module a resource: translates requests to calls of the services, and their answers to JSON."""
