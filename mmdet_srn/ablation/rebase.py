"""An ablation's config on another base."""

import ast
import os
from pathlib import Path


def rebase(ablation: Path | None, base: Path, folder: Path) -> str:
    """Write the text of a config that does to a base what an ablation does to its own.

    Args:
        ablation: The ablation's config; None for the base as it is.
        base: The base's config.
        folder: Where the text will lie, for the relative path to the base.

    Returns:
        The ablation's source with another ``_base_``.

    Raises:
        ValueError: If the ablation does not name one ``_base_``, at its top level.
        SyntaxError: If it is no Python.
    """
    named = 'nothing' if ablation is None else ablation.name
    relative = Path(os.path.relpath(base.resolve(), folder.resolve())).as_posix()
    head = (
        f'# {named} on {base.name}, written by tools/ablate.py\n_base_ = {relative!r}\n'
    )
    if ablation is None:
        return head
    source = ablation.read_text(encoding='utf-8')
    bases = [
        node
        for node in ast.parse(source, str(ablation)).body
        if isinstance(node, ast.Assign)
        and any(isinstance(t, ast.Name) and t.id == '_base_' for t in node.targets)
    ]
    if len(bases) != 1:
        raise ValueError(
            f'{ablation}: an ablation names one _base_ at its top level, this one '
            f'{len(bases)}'
        )
    lines = source.splitlines()
    first, last = bases[0].lineno, bases[0].end_lineno
    assert last is not None
    body = '\n'.join(lines[: first - 1] + lines[last:])
    return f'{head}\n{body.strip()}\n'
