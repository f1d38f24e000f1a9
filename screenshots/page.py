"""Take the picture of the page of `mtl serve`: python screenshots/page.py [ADDRESS]

It needs a service that runs (`mtl serve runs/news`, of the recipe news-ner),
`pip install playwright` and Chromium on the PATH. ADDRESS is by default http://127.0.0.1:8000.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

TEXT = "The minister Bob Jensen spoke in Paris on Monday."


def take_picture(address: str, file: Path) -> None:
    """Write the page, with what the model says about a text, light and as wide as on a desk."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox"],  # root, as in a container, cannot use it
        )
        size = {"width": 800, "height": 600}
        page = browser.new_page(viewport=size, color_scheme="light")
        page.goto(address)
        page.fill("#text", TEXT)
        page.click("#read > button")
        page.click("#read summary")
        page.screenshot(path=file, full_page=True)
        browser.close()


if __name__ == "__main__":
    picture = Path(__file__).parent / "serve.png"
    take_picture(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000", picture)
