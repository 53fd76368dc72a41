"""How another library's error is quoted in ours."""

from __future__ import annotations

import pytest

from catalog_pipeline.errors import first_line


@pytest.mark.parametrize(
    ("error", "quoted"),
    [
        (OSError("disk full"), "disk full"),
        (RuntimeError("\n cannot open\r\nat line 3\n"), "cannot open"),
        (OSError(), "OSError"),
        (ValueError(" \n"), "ValueError"),
    ],
)
def test_an_error_is_quoted_in_one_line_and_never_as_nothing(error: Exception, quoted: str) -> None:
    assert first_line(error) == quoted
