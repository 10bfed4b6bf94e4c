"""The page, or in a headless host only the components that scripts look for."""

from __future__ import annotations

from common import config as _config

if _config.current().ui:
    from common.ui_page import *  # noqa: F403
    from common.ui_page import create_ui
else:
    from common.host.headless_ui import create_ui  # noqa: F401
