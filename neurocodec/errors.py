"""What can go wrong, as the user sees it. Every message is one line that gives the reason; callers add the file."""


class NeurocodecError(Exception):
    """Base of all errors that are raised on purpose: bad pictures, impossible requests."""


class StreamError(NeurocodecError):
    """The bytes are not a valid stream: wrong magic, truncated header, limits exceeded, failed checksum."""


class ModelError(NeurocodecError):
    """The model or the weights that a stream or a request names are not here."""
