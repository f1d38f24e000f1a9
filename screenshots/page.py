"""Take the pictures of the page of `mtl serve`: python screenshots/page.py [ADDRESS]

It needs a service that runs (`mtl serve news=RUN practical7=RUN`, with runs of the recipes news-ner
and practical7), `pip install playwright` and Chromium on the PATH. ADDRESS is by default
http://127.0.0.1:8000.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

TEXT = "The minister Bob Jensen spoke in Paris on Monday."
QUESTION = "Where does Alice work?"
CONTEXT = "Bob lives in Paris. Alice works at Acme Corp. Carol was born in Rome."


def read_a_text(page: Page) -> None:
    """Have a text read, and show how a program asks for the same."""
    page.select_option("#model", "news")
    page.fill("#text", TEXT)
    page.click("#read > button")
    page.click("#read summary")


def ask_a_question(page: Page) -> None:
    """Have a question answered from a text."""
    page.select_option("#model", "practical7")
    page.fill("#first", QUESTION)
    page.fill("#second", CONTEXT)
    page.click("#ask > button")
    page.wait_for_selector("#ask .result *")
    page.wait_for_load_state("networkidle")


# What is done, and the part of the page that is shown.
PICTURES = {
    "serve.png": (read_a_text, "body"),
    "serve_question.png": (ask_a_question, "#ask"),
}


def take_pictures(address: str, folder: Path) -> None:
    """Write the page after each of these, light and as wide as on a desk."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox"],  # root, as in a container, cannot use it
        )
        size = {"width": 800, "height": 600}
        for name, (act, part) in PICTURES.items():
            page = browser.new_page(viewport=size, color_scheme="light")
            page.goto(address)
            act(page)
            page.locator(part).screenshot(path=folder / name)
        browser.close()


if __name__ == "__main__":
    address = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
    take_pictures(address, Path(__file__).parent)
