"""Clusters of real processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.clusters import Cluster


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """One with replicas, for this test alone: masters may be killed."""
    with Cluster(node_timeout=600) as one:
        yield one


@pytest.fixture(scope="session")
def steady(server_of_kind: Callable[[str], Cluster]) -> Cluster:
    """One of three masters and their replicas that all tests share; nobody is killed."""
    return server_of_kind("cluster")
