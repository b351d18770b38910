"""Every error a user can meet, and the exit code each one ends the command with.

    Janus4oError            1   something this package noticed and can explain
    ├── UsageError          2   the command line makes no sense
    ├── BadInput            3   what was given cannot be used
    │   ├── RecipeError         a recipe: unknown key, wrong type, missing file
    │   ├── PromptError         a prompt: empty, too long, unprintable
    │   ├── ImageError          a picture: truncated, of a refused kind, too large
    │   ├── CheckpointError     a model folder: missing, truncated, of another architecture
    │   └── DataError           a data set, archive or evidence file
    ├── Refused             4   asked for correctly, but not now or not here
    │   ├── FolderBusy          another process holds the run folder
    │   └── RecipeChanged       the folder was made by another recipe
    ├── BudgetStop          5   money, quota or count limit reached; run again to go on
    ├── DiskStop            5   the disk is full or fails; run again to go on
    └── Interrupted         6   stopped by the user or a signal; run again to go on

A message is one line: what was given and what was expected. `remedy` is one line: what to do.
"""


class Janus4oError(Exception):
    """Base of all errors of this package.

    Args:
        message: one line that says what was given and what was expected.
        remedy: one line that says what to do about it.
    """

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message


class UsageError(Janus4oError):
    exit_code = 2


class BadInput(Janus4oError):
    exit_code = 3


class RecipeError(BadInput):
    pass


class PromptError(BadInput):
    pass


class ImageError(BadInput):
    pass


class CheckpointError(BadInput):
    pass


class DataError(BadInput):
    pass


class Refused(Janus4oError):
    exit_code = 4


class FolderBusy(Refused):
    pass


class RecipeChanged(Refused):
    pass


class BudgetStop(Janus4oError):
    exit_code = 5


class DiskStop(Janus4oError):
    exit_code = 5


class Interrupted(Janus4oError):
    exit_code = 6
