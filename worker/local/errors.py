"""The error of the local stack."""


class LocalStackError(Exception):
    """The local stack cannot do what was asked; the text says why and what to do."""
