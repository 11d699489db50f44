"""What is raised on purpose: problems that a user can mend, and the user's own cancelling."""


class LLMBoostError(Exception):
    """What is wrong, with which file, and what to do about it, in one line.

    The command line prints the message and exits with 1; the worker sends it to Slicer as data.
    Anything else that is raised is a defect of the program and keeps its traceback.
    """


class Cancelled(Exception):
    """The user asked to stop."""
