"""What the service's errors mean to the person at the terminal: one line, with the remedy and without any secret.

The texts of the client library are never passed on: they hold URLs, and a URL may hold a signature.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from workload_forecast.errors import DataError, EnvironmentProblem, WorkloadForecastError
from workload_forecast.storage.credentials import CONNECTION_STRING, HOW, IDENTITY, KEYS, NOBODY
from workload_forecast.storage.locations import Location
from workload_forecast.storage.retries import is_name_problem

_CODE = re.compile(r"[A-Za-z]{1,60}")


@contextmanager
def explained(location: Location, source: str, seconds: float) -> Iterator[None]:
    """Turn what the client raises in the block into an error of the project.

    Args:
        location: what the block is about.
        source: of the credential, see :class:`~workload_forecast.storage.credentials.Credential`.
        seconds: the deadline of a request.
    """
    try:
        yield
    except (AzureError, requests.RequestException) as problem:
        raise explain(problem, location, source, seconds) from None


def code_of(problem: BaseException) -> str:
    """Return the service's code for an error, like ``BlobNotFound``; empty if it gave none."""
    code = getattr(problem, "error_code", None)
    text = str(getattr(code, "value", code) or "")
    return text if _CODE.fullmatch(text) else ""


def status_of(problem: BaseException) -> int:
    """Return the HTTP status of an error answer; 0 where there was no answer or it began well."""
    status = problem.status_code if isinstance(problem, HttpResponseError) else None
    return status if status is not None and status >= 300 else 0


def explain(
    problem: AzureError | requests.RequestException, location: Location, source: str, seconds: float
) -> WorkloadForecastError:
    """Return the error that says it."""
    code, status = code_of(problem), status_of(problem)
    if status == 0:
        return _no_answer(problem, location, seconds)
    if status in {429, 500, 503, 504}:
        return EnvironmentProblem(
            f"{location}: account {location.account} is busy and answered {status} for {seconds:.0f} s: try again "
            "later, or ask its owner about its limits."
        )
    if status == 412:
        return DataError(f"{location} has changed since it was found: run it again when nobody writes to it.")
    if status in {401, 403, 404, 409}:
        return _refused(code, status, location, source)
    return EnvironmentProblem(f"{location}: the service refused with {status} {code}: see its documentation of errors.")


def _no_answer(problem: BaseException, location: Location, seconds: float) -> WorkloadForecastError:
    if is_name_problem(problem):
        return EnvironmentProblem(
            f"{location}: no storage account '{location.account}' is known at {location.endpoint}: correct its name, "
            "or look whether this machine reaches a name server."
        )
    if isinstance(problem, ClientAuthenticationError):
        return EnvironmentProblem(f"{location}: the Azure identity cannot be used any more: sign in with `az login`.")
    if "MD5 mismatch" in str(problem):
        return EnvironmentProblem(
            f"{location} arrived damaged again and again for {seconds:.0f} s: look at the network and any proxy."
        )
    return EnvironmentProblem(
        f"{location}: {location.endpoint} did not answer completely for {seconds:.0f} s: look at the network, "
        "HTTPS_PROXY and the account's firewall, then run it again; what has arrived is kept."
    )


def _missing(code: str, location: Location) -> WorkloadForecastError:
    if code in {"ContainerNotFound", "ContainerBeingDeleted"}:
        return EnvironmentProblem(
            f"{location}: account {location.account} has no container '{location.container}': correct the name, or "
            f"create it with `az storage container create --account-name {location.account} --name "
            f"{location.container}`."
        )
    return DataError(f"{location} does not exist: correct the location, or put the file there.")


def _refused(code: str, status: int, location: Location, source: str) -> WorkloadForecastError:
    if source == NOBODY and code not in {"BlobNotFound", "ContainerNotFound"}:
        return EnvironmentProblem(
            f"{location} is not public (or does not exist), and there is no credential for account "
            f"{location.account}. {HOW}."
        )
    if status == 404:
        return _missing(code, location)
    if status == 409:
        return EnvironmentProblem(f"{location}: somebody else works on it ({code}): run it again later.")
    # an account's key opens everything, so that only the key or the network can be meant
    is_key = source in {CONNECTION_STRING, *KEYS} and code in {"", "AuthorizationFailure"}
    if is_key or code in {"AuthenticationFailed", "InvalidAuthenticationInfo"}:
        return EnvironmentProblem(
            f"{location}: account {location.account} does not accept {source}: it is wrong, expired or for another "
            "account; copy it again. If it is right, look at this machine's clock and the account's network rules."
        )
    grant = "role Storage Blob Data Reader, or Contributor to write," if source == IDENTITY else "permission"
    return EnvironmentProblem(
        f"{location}: {source} may not do this ({code or 'denied'}): ask for the {grant} on container "
        f"'{location.container}', and look at the account's network rules."
    )
