"""The commands of the operator, over the node's control socket.

They load nothing of the node that they do not need, so that each answers at once: `client` speaks HTTP
over the Unix socket with the standard library, `begin` alone (`init`, `run`, `demo`) builds a node.
"""

import sys


def main() -> None:
    """Run the command line and end with its exit code."""
    from node.cli.app import run

    sys.exit(run(sys.argv[1:]))
