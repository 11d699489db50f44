"""The one exception for problems that a user can mend."""


class LLMBoostError(Exception):
    """What is wrong, with which file, and what to do about it, in one line.

    The command line prints the message and exits with 1; the worker sends it to Slicer as data.
    Anything else that is raised is a defect of the program and keeps its traceback.
    """
