"""CR-Diff as the WebUI loads it: here its parts are put together and registered with the host."""

from functools import partial
from pathlib import Path

from crdiff.webui.calibration.api import add_calibration_routes
from crdiff.webui.calibration.context import CalibrationContext
from crdiff.webui.calibration.controls import CalibrationControls
from crdiff.webui.calibration.script import make_calibration_script
from crdiff.webui.compare.api import add_compare_routes
from crdiff.webui.compare.context import CompareContext
from crdiff.webui.compare.script import make_compare_script
from crdiff.webui.extension import Extension
from crdiff.webui.script import make_script
from crdiff.webui.search.api import add_search_routes
from crdiff.webui.search.context import SearchContext
from crdiff.webui.search.controls import SearchControls
from crdiff.webui.search.script import make_search_script
from modules import paths, script_callbacks

extension = Extension(Path(paths.data_path))
extension.register()

search = SearchContext(extension.folder, extension.library, extension.checkpoints, extension.calibrations)
script_callbacks.on_app_started(lambda _, app: add_search_routes(app, search))

calibration = CalibrationContext(extension.calibrations, extension.library, extension.checkpoints, extension.slot)
script_callbacks.on_app_started(lambda _, app: add_calibration_routes(app, calibration))

comparison = CompareContext(extension.folder, extension.library, extension.checkpoints)
script_callbacks.on_app_started(lambda _, app: add_compare_routes(app, comparison))

CRDiffScript = make_script(extension, [partial(SearchControls, search)], [partial(CalibrationControls, calibration)])
CRDiffSearchScript = make_search_script(search)
CRDiffCalibrationScript = make_calibration_script(calibration)
CRDiffCompareScript = make_compare_script(comparison)
