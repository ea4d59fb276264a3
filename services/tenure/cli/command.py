"""Makes commands of functions: `client_command` gives a function its session, `options_command` the global options.

The global options stand before the command or behind it (`tenure -o json jobs list`, `tenure jobs list -o json`);
behind wins. They are declared here once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import update_wrapper
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, cast

import typer

from tenure.cli.session import Options, Output, Session, open_session

P = ParamSpec("P")


def _option(
    annotation: Any,
    *names: str,
    help: str,  # noqa: A002 - typer's word
    metavar: str | None = None,
    envvar: str | None = None,
) -> Any:
    return Annotated[annotation, typer.Option(*names, help=help, metavar=metavar, envvar=envvar)]


def global_options(*, environment: bool) -> list[inspect.Parameter]:
    """The global options as parameters of a function.

    Args:
        environment: whether a variable stands in for an option that is not given. Only where the options stand first:
            otherwise the variable would win over the option before the command.
    """
    annotations = {
        "server": _option(
            str | None,
            "--server",
            help="Address of the server. [default: 127.0.0.1:50051]",
            metavar="HOST:PORT",
            envvar="TENURE_SERVER" if environment else None,
        ),
        "token_file": _option(
            Path | None,
            "--token-file",
            help="File with the token. Otherwise TENURE_TOKEN, or the token of the server on this machine.",
            metavar="FILE",
            envvar="TENURE_TOKEN_FILE" if environment else None,
        ),
        "tls_ca": _option(
            Path | None,
            "--tls-ca",
            help="Encrypt; trust the certificates in this PEM file.",
            metavar="FILE",
            envvar="TENURE_TLS_CA" if environment else None,
        ),
        "tls": _option(bool | None, "--tls/--no-tls", help="Encrypt; trust the certificates of this machine."),
        "output": _option(Output | None, "--output", "-o", help="How the answer is written. [default: table]"),
    }
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in annotations.items()
    ]


def options_from(given: Mapping[str, Any]) -> Options:
    """The global options among the arguments of a function."""
    names = ("server", "token_file", "tls_ca", "tls", "output")
    return Options(**{name: given.get(name) for name in names})


def with_parameters(function: Callable[..., None], parameters: list[inspect.Parameter]) -> Callable[..., None]:
    """Give a function that takes anything the signature that typer is to read."""
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return function


def client_command(function: Callable[Concatenate[Session, P], None]) -> Callable[..., None]:
    """A command of a function: the global options are added, and its first argument is an open session."""

    def run(options: Options, **given: Any) -> None:
        with open_session(options) as session:
            cast(Any, function)(session, **given)

    return _command(function, run)


def options_command(function: Callable[Concatenate[Options, P], None]) -> Callable[..., None]:
    """A command of a function whose first argument is the global options; sessions are its own business."""
    return _command(function, function)


def _command(function: Callable[..., None], call: Callable[..., None]) -> Callable[..., None]:
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

    def run(ctx: typer.Context, **given: Any) -> None:
        options = options_from(given).over(ctx.find_object(Options) or Options())
        call(options, **{parameter.name: given[parameter.name] for parameter in own})

    # The name and the docstring, which is the help; not __wrapped__, which would bring back the old signature.
    update_wrapper(run, function, assigned=("__name__", "__doc__", "__module__", "__qualname__"), updated=())
    del run.__dict__["__wrapped__"]
    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    keywords = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    return with_parameters(run, [context, *keywords, *global_options(environment=False)])
