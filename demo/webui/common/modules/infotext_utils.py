"""Reading infotexts and pasting them into the page."""

from common.infotext_paste import *  # noqa: F403
