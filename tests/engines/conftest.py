"""The contract suites explain their failed assertions as test files do."""

import pytest

pytest.register_assert_rewrite(
    "engines.contract", "engines.feed_contract", "engines.jobs_contract", "engines.deliveries_contract"
)
