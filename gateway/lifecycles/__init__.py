"""Lifecycles: one document from data to traffic, carried out stage by stage."""
