"""Chromium for tests of pages: the one that the system has, driven by Playwright.

`.ci/run` installs Debian's. Where there is none, tests that need it are skipped with that as the reason; under `CI`
they fail instead, so that a check is never lost in silence.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def needed(found: str | None, name: str, advice: str) -> str:
    """A program's path; the test is skipped where there is none, and fails where tests must not be skipped.

    Args:
        found: the path, None where there is none.
        name: of the program.
        advice: how to get it.
    """
    if found is None:
        reason = f"{name} is not installed; {advice}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def chromium() -> str:
    """The path of Chromium."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return needed(found, "Chromium", "apt-get install chromium")


@contextmanager
def launched() -> Iterator[Browser]:
    """A headless Chromium."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = ["--disable-gpu", "--disable-dev-shm-usage", "--force-color-profile=srgb"]
        browser = playwright.chromium.launch(executable_path=path, chromium_sandbox=False, args=options)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser) -> Iterator[Page]:
    """A page in a context of its own; an error in its scripts or a request to another machine fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    errors, outside = list[str](), list[str]()
    page = context.new_page()
    page.set_default_timeout(60_000)  # a busy machine is no failure
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: None if _local(request.url) else outside.append(request.url))
    yield page
    context.close()
    assert errors == []
    assert outside == []


def _local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "http://localhost:", "file:", "data:", "blob:", "about:"))
