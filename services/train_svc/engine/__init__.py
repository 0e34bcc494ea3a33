"""The training engine: architecture descriptions, templates, the torch builder, the training loop, export.

It knows no database, no wire and no queue; what it needs of them comes in through the Protocols of
`services.train_svc.engine.ports`. Nothing here imports torch until something is built.
"""
