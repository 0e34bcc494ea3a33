"""The installed version."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("modelwright")
except PackageNotFoundError:  # Run from a checkout that was not installed.
    VERSION = "0+checkout"
