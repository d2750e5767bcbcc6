"""`market`, the command line: a client of the shop's HTTP API, as `docker` is one of its engine.

Results go to stdout, hints that name the next command to stderr; --json everywhere. Exit status:
0 done, 1 refused or failed, 2 wrong usage, 3 no shop answers. Bodies of commands import what they
need themselves, so that the command starts at once.
"""

from typing import Any

import click

from marketplace.cli import (
    accounts,
    bundle,
    catalogue,
    deploy,
    deployments,
    house,
    importing,
    optimize,
    package,
    passport,
    publish,
    review,
    tokens,
    vendors,
    verify,
)
from marketplace.cli.options import FAILED, UNREACHABLE, text
from marketplace.terminal import hint


class _Market(click.Group):
    """Turns what the client raises into words and an exit status."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        from marketplace.settings import SettingError

        try:
            return super().invoke(ctx)
        except SettingError as error:
            hint(str(error), str(error))
            ctx.exit(FAILED)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            from marketplace.client import Refused, Unreachable

            if not isinstance(error, Refused | Unreachable):
                raise
            hint(str(error), str(error))
            ctx.exit(FAILED if isinstance(error, Refused) else UNREACHABLE)


@click.group(
    cls=_Market,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help=text(
        "OPC 市场：挑一个模型，一键部署，随即调用。先运行 market serve。",
        "OPC Market: pick a model, deploy it in one go, call it. Begin with: market serve.",
    ),
)
@click.version_option(package_name="opc-market", prog_name="market")
def main() -> None:
    """Entry point of the `market` command."""


for command in (
    house.serve,
    house.doctor_command,
    house.login_link,
    catalogue.search,
    catalogue.show,
    catalogue.compare,
    optimize.optimize,
    package.package,
    passport.passport,
    bundle.bundle,
    verify.verify,
    deploy.deploy,
    deployments.call,
    deployments.ps,
    deployments.logs,
    deployments.stop,
    deployments.keys,
    tokens.tokens,
    accounts.accounts,
    accounts.audit,
    publish.publish,
    publish.versions,
    publish.deprecate,
    publish.yank,
    publish.relist,
    publish.withdraw,
    review.review,
    vendors.vendors,
    importing.import_,
    importing.imports,
    importing.mirrors,
):
    main.add_command(command)
