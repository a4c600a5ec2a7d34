"""All rows, in the order of the table."""

from __future__ import annotations

from pairs import rows_files, rows_start, rows_training

ROWS = {row.name: row for row in (*rows_start.ROWS, *rows_training.ROWS, *rows_files.ROWS)}


def chosen(words: str, long: bool) -> list[str]:
    """Return the names that hold one of these words, divided by commas; a long row by name or with the long ones."""
    wanted = [word for word in words.split(",") if word]
    if wanted:
        return [
            name
            for name in ROWS
            if any(word in name for word in wanted) and (long or not ROWS[name].long or name in wanted)
        ]
    return [name for name, row in ROWS.items() if long or not row.long]
