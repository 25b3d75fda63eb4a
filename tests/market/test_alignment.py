"""One time axis for series that each have their own times: as a plain walk over all of them finds it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scanstream.market.alignment import Bars, align

SERIES = st.dictionaries(
    st.integers(0, 9), st.tuples(*[st.sampled_from([1.0, 2.5, float("nan"), float("inf")])] * 2), max_size=6
)


@given(st.lists(SERIES, max_size=4))
def test_what_only_some_have_is_absent_for_the_others(series: list[Bars]) -> None:
    times, table = align(series, 2)
    assert times.tolist() == sorted(set().union(*series))
    assert table.shape == (2, len(times), len(series))
    for row, at in enumerate(times.tolist()):
        for column, bars in enumerate(series):
            np.testing.assert_array_equal(table[:, row, column], bars.get(at, (np.nan, np.nan)))
