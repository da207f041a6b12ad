"""Reads a table back."""


def columns_of(text: str) -> dict[str, tuple[str, ...]]:
    """Return the columns of the Markdown table in a text, by heading."""
    lines = [line for line in text.splitlines() if line[:1] == '|']
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines]
    return dict(zip(rows[0], zip(*rows[2:], strict=True), strict=True))
