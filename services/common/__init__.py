"""What two services need and what names no service's noun."""
