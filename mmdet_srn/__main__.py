"""The commands: ``python -m mmdet_srn [detect|detect_many|export] ARGUMENTS``.

Without a command's name it is detect: ``python -m mmdet_srn photo.jpg``. So a file that
has the name of a command is ``./detect``.
"""

import sys
from collections.abc import Callable, Sequence

COMMANDS = ('detect', 'detect_many', 'export')


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    name = words.pop(0) if words and words[0] in COMMANDS else 'detect'
    try:
        run = load(name)
    except ImportError as error:
        print(f'{name}: {error}', file=sys.stderr)
        return 1
    return run(words)


def load(name: str) -> Callable[[Sequence[str]], int]:
    """Import a command, and nothing that only the others need.

    Raises:
        ImportError: If what it needs is missing, with what to install.
    """
    if name == 'export':
        from ._stack import check_stack

        check_stack()
        from .export_command import main
    elif name == 'detect_many':
        try:
            from .many.command import main
        except ImportError as error:
            message = f'{error}; pip install "mmdet_srn[onnx,ray]"'
            raise ImportError(message) from error
    else:
        from .detector.command import main
    return main


if __name__ == '__main__':
    sys.exit(main())
