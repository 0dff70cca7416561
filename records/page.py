"""The HTML page of reports, with its style: fonts, light and dark colours, widths."""

from importlib import resources

PAGE = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
