"""Exit codes: how a process of the server says why it ended."""

STOPPED = 0  # all admitted work was answered
CUT_SHORT = 1  # some admitted work was not answered within `drain_limit_s`
USAGE_ERROR = 2  # the settings cannot be used, or a port is taken
LOAD_FAILED = 3  # a model has no version that can be loaded, or the model repository cannot be read
HUNG = 70  # an engine does not answer any more, or decode threads do not
