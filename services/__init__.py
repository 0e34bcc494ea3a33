"""Every service of the platform, each a package that runs alone."""
