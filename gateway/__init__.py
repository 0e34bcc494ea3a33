"""The REST gateway: identity, resources, lifecycles, live events."""
