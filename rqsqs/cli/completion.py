"""`rqsqs completion`: what a shell needs to complete commands, options and names of queues."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from rqsqs.cli.report import Lines, Result
from rqsqs.cli.settings import Settings, reported

INSTALL = {
    "bash": """add to ~/.bashrc:   eval "$(rqsqs completion bash)\"""",
    "zsh": """add to ~/.zshrc, below compinit:   eval "$(rqsqs completion zsh)\"""",
    "fish": "run once:   rqsqs completion fish >~/.config/fish/completions/rqsqs.fish",
}


@click.command("completion")
@click.argument("shell", type=click.Choice(list(INSTALL)))
@reported
def completion(settings: Settings, shell: str) -> Result:
    """Print what SHELL needs to complete commands, options and names of queues; its first line says where it goes.

    Names come from the server that --url, RQSQS_URL or the default names; without an answer in half a second there
    are none.

    \b
    Examples:
      eval "$(rqsqs completion bash)"
      rqsqs completion fish >~/.config/fish/completions/rqsqs.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    root = click.get_current_context().find_root().command
    script = f"# {INSTALL[shell]}\n{found(root, {}, 'rqsqs', '_RQSQS_COMPLETE').source().strip()}"
    return Lines(script.splitlines(), shell=shell, install=INSTALL[shell], script=script)
