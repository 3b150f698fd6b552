"""An audit's page as a PDF, by WeasyPrint: the extra ``audit``. Only the process that lays audits out imports it."""

from __future__ import annotations

import logging

from monitor.errors import ConfigError

__all__ = ["pdf_of"]


def pdf_of(page: str, *, name: str) -> bytes:
    """Print a page. The same page and version of WeasyPrint give the same bytes.

    Args:
        name: Identifies the document, in place of a random number.

    Raises:
        ConfigError: The extra or one of its system's libraries is not there; says how to get it.
    """
    try:
        from weasyprint import HTML
        from weasyprint.urls import URLFetcher
    except ImportError as error:
        raise ConfigError("no audit.pdf: WeasyPrint is not installed; pip install 'alignd[audit]'") from error
    except OSError as error:
        raise ConfigError(
            f"no audit.pdf: a library of WeasyPrint's is missing ({error}); install Pango, e.g. apt-get install "
            "libpango-1.0-0 libpangoft2-1.0-0"
        ) from error
    logging.getLogger("weasyprint").setLevel(logging.ERROR)
    printed = HTML(string=page, url_fetcher=URLFetcher(allowed_protocols=()))  # nothing is fetched from anywhere
    made: bytes = printed.write_pdf(pdf_identifier=name.encode())
    return made
