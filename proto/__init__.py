"""The contracts, and the code that is generated from them."""
