"""Fixtures of the tests of sensors, schedules and run records."""

from __future__ import annotations

from catalog_pipeline_tests.defs.automation.shops import empty_home, shops

__all__ = ["empty_home", "shops"]
