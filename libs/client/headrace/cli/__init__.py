"""The `headrace` command."""


def main() -> None:
    """Run the command that the process was started with."""
    from headrace.cli.app import app

    app()


__all__ = ["main"]
