"""CR-Diff as the WebUI loads it: one extension object, its callbacks, its script."""

from pathlib import Path

from crdiff.webui.extension import Extension
from crdiff.webui.script import make_script
from modules import paths

extension = Extension(Path(paths.data_path))
extension.register()

CRDiffScript = make_script(extension)
