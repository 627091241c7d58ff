"""Icarus where other libraries expect an environment. Each module needs its own library, which is an extra."""


def missing(library: str, extra: str) -> ImportError:
    """The error that says how to install what an adapter needs."""
    return ImportError(f"this adapter needs {library}, which is not installed. Try: pip install 'icarus-tbn[{extra}]'")
