"""Numbers in sentences."""

import pytest

from hjepa_utils import counted


@pytest.mark.parametrize(
    ("n", "told"), [(0, "0 epochs"), (1, "1 epoch"), (2, "2 epochs"), (10_000, "10,000 epochs")]
)
def test_one_thing_has_no_s(n, told):
    assert counted(n, "epoch") == told
