"""What can go wrong with things that come from outside."""


class MdbenchError(Exception):
    """An input cannot be used. The message says what was wrong, where, and what to do about it.

    The command line prints the message alone and exits with code 2.
    """
