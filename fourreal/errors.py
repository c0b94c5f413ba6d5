"""The one exception that is a message for the user rather than a bug."""


class UserError(Exception):
    """Bad input: says in one line what is wrong and what to do.

    The command line prints the message on stderr without a traceback and exits with code 2.
    """

    exit_code = 2
