"""Pages about a search, in the browser of this machine: Starlette serves them, Jinja2 writes them.

`application` puts the routes of a page behind the checks that every page needs, `serve` runs it on 127.0.0.1. Templates
are in `templates/`, style and scripts in `static/`; nothing is loaded from elsewhere.
"""

try:
    import jinja2 as _jinja2  # noqa: F401
    import starlette as _starlette  # noqa: F401
    import uvicorn as _uvicorn  # noqa: F401
except ImportError as error:
    from surrogate_ax.errors import MissingExtraError

    raise MissingExtraError("surrogate_ax_web needs Starlette: pip install 'surrogate-ax[web]'.") from error

from surrogate_ax.media.preview_files import Preview
from surrogate_ax_web.application import application, templates
from surrogate_ax_web.explore import explore_page
from surrogate_ax_web.gallery import Picture, gallery
from surrogate_ax_web.previews import preview_routes
from surrogate_ax_web.report import write_report
from surrogate_ax_web.serving import HOST, serve

__all__ = [
    "HOST",
    "Picture",
    "Preview",
    "application",
    "explore_page",
    "gallery",
    "preview_routes",
    "serve",
    "templates",
    "write_report",
]
