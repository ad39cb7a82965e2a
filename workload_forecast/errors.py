"""Every error that the project raises on purpose.

Each message says what is wrong, where, and what to do next. The command line prints it as one line and exits
with the error's ``exit_code``; anything that is not a :class:`WorkloadForecastError` is a defect of ours.
"""

from __future__ import annotations


class WorkloadForecastError(Exception):
    """Root of the tree. The message is meant for the person at the terminal."""

    exit_code = 1


class SettingsError(WorkloadForecastError):
    """A settings file or a parameter is unknown, out of range or contradicts another one."""

    exit_code = 2


class DataError(WorkloadForecastError):
    """The sessions cannot be used: none were found, none are valid, or the window holds none."""

    exit_code = 3


class AccountingError(DataError):
    """Rows went missing between the input and the tables: read ≠ used + quarantined + outside + filtered."""


class SchemaError(DataError):
    """A table does not have the columns that its reader was promised."""


class EnvironmentProblem(WorkloadForecastError):
    """Something outside the project is missing: Java, disk space, a permission."""

    exit_code = 4


class ModelError(WorkloadForecastError):
    """A model cannot be trained, logged or loaded: no training rows, a single class, an unknown algorithm."""

    exit_code = 5


class PromotionRefused(WorkloadForecastError):
    """A version did not pass the promotion gate. Nothing is broken: the champion stays what it was."""

    exit_code = 6


class MonitoringAlarm(WorkloadForecastError):
    """What came is not what was promised, or not what was trained on. Everything about it has been logged."""

    exit_code = 7
