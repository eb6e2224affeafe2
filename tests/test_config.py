from __future__ import annotations

import json

import pytest

from ml.config import TrainConfig


def test_what_is_saved_is_read_back() -> None:
    config = TrainConfig(profile="full", seed=7, tune_rate=1e-5)
    assert TrainConfig(**json.loads(json.dumps(config.as_json()))) == config


def test_a_profile_that_is_none_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValueError, match="profile is 'slow'; expected one of fast, full"):
        TrainConfig(profile="slow")
