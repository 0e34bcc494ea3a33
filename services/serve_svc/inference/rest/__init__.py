"""HTTP/1.1 straight from the parser: no framework stands on the hot path."""
