"""CR-Diff as the WebUI loads it: one extension object, its callbacks, its scripts."""

from pathlib import Path

from crdiff.webui.extension import Extension
from crdiff.webui.script import make_script
from crdiff.webui.search.script import make_search_script
from modules import paths

extension = Extension(Path(paths.data_path))
extension.register()

CRDiffScript = make_script(extension)
CRDiffSearchScript = make_search_script(extension)
