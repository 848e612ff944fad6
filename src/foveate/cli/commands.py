"""The commands, as a person types them.

Knows:   their names, arguments and help.
Ignores: what a command does, which is in its own module, and its options, which are in `options`.

Modules that compute are imported when a command runs, so that `--help` responds at once. Cyclopts' own lazy
commands are unsuitable: their help is blank until they are imported, or loses all but its first line.
"""
# ruff: noqa: PLC0415

from typing import Annotated

from cyclopts import App, Parameter

from foveate.cli.options import Flag, InputFolder, OutputFile, require_extra
from foveate.cli.options.data import DEFAULT_CHECK, CheckOptions, SplitOptions
from foveate.cli.options.dicom import NO_LOGIN, LoginOptions, PullOptions, WatchOptions
from foveate.cli.options.evaluate import CompareOptions, EvaluateOptions
from foveate.cli.options.predict import PredictOptions
from foveate.cli.options.serve import DEFAULT_SERVER, ServeOptions
from foveate.cli.options.training import (
    AverageOptions,
    CrossValidationOptions,
    ReleaseOptions,
    TrainingOptions,
    TrainOptions,
)
from foveate.cli.output import errors_as_json
from foveate.version import version

app = App(
    name="foveate",
    help="Find the lesions of diabetic retinopathy in fundus photographs at native resolution. "
    "Research software, not a medical device.",
    version=f"foveate {version()}",
    print_error=False,
    exit_on_error=False,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)

models = App(
    name="models",
    help="List the model packages that come with Foveate, or show one of them.",
    usage="Usage: foveate models [COMMAND]",
)
data = App(name="data", help="Check a data set of photographs and masks, or divide it into folds.")
dicom = App(name="dicom", help="Fetch photographs from a DICOM archive (DICOMweb), and store results in it.")
for group in (models, data, dicom):
    app.command(group)

RecipeName = Annotated[str, Parameter(metavar="RECIPE")]
Folder = Annotated[InputFolder, Parameter(name="DIR")]
Url = Annotated[str, Parameter(metavar="URL")]


@app.command(usage="Usage: foveate predict PATH... --out DIR [OPTIONS]")
def predict(
    *paths: Annotated[str, Parameter(name="PATH", negative="")],
    options: PredictOptions,
) -> int:
    """Find the lesions in photographs, and write probability maps, masks, overlays and tables.

    Parameters
    ----------
    paths
        JPEG, PNG, TIFF and DICOM files, folders (with all their subfolders), and glob patterns.
    """
    options.require_consistent(paths)
    with errors_as_json(options.as_json):
        if options.cluster.is_requested:
            require_extra("cluster", "--on", "pyarrow")
            from foveate.cli.cluster import predict_on_workers

            return predict_on_workers(paths[0], options)
        from foveate.cli.predict import predict_on_this_machine

        return predict_on_this_machine(paths, options)


@models.default
def list_models() -> None:
    """List the model packages that come with Foveate."""
    from foveate.cli.models import print_shipped_models

    print_shipped_models()


@models.command
def show(
    name: Annotated[str, Parameter(name="NAME|FOLDER")],
    /,
    *,
    as_json: Annotated[Flag, Parameter(name="--json")] = False,
) -> None:
    """Print what a model package says about itself: its intended use, thresholds, scores and training data.

    Parameters
    ----------
    name
        Name of a model package that comes with Foveate, the folder of a package, or a zip file of it.
    as_json
        Print the whole manifest as JSON, for programs.
    """
    from foveate.cli.models import print_model

    print_model(name, as_json=as_json)


@app.command(usage="Usage: foveate evaluate --data DIR --out DIR [OPTIONS]")
def evaluate(*, options: EvaluateOptions) -> None:
    """Score a model, or the maps of any other system, on photographs whose lesions are known."""
    options.require_consistent()
    from foveate.cli.evaluate import evaluate

    evaluate(options)


@data.command(usage="Usage: foveate data check DIR [OPTIONS]")
def check(folder: Folder, /, *, options: CheckOptions = DEFAULT_CHECK) -> int:
    """Read all photographs and masks of a data set and report what is wrong; exit code 1 if anything is.

    Parameters
    ----------
    folder
        Folder that the data set was unpacked to.
    """
    options.require_consistent()
    from foveate.cli.data import check_set

    return check_set(folder, options)


@data.command(usage="Usage: foveate data split DIR --out FILE [OPTIONS]")
def split(folder: Folder, /, *, options: SplitOptions) -> None:
    """Divide the photographs of a split into folds with the lesions distributed evenly, and save the folds.

    Photographs that show the same eye, judging by their names or their similarity, are put into one fold.

    Parameters
    ----------
    folder
        Folder that the data set was unpacked to.
    """
    from foveate.cli.data import split_set

    split_set(folder, options)


@dicom.command(usage="Usage: foveate dicom pull URL --out DIR (--study UID | --date DATE) [OPTIONS]")
def pull(url: Url, /, *, options: PullOptions) -> int:
    """Fetch the photographs of studies from an archive; files that exist are not fetched again.

    Parameters
    ----------
    url
        Address of the archive's DICOMweb service, such as http://host:8042/dicom-web.
    """
    options.require_consistent()
    _require_dicom()
    from foveate.cli.dicom import pull

    return pull(url, options)


@dicom.command(usage="Usage: foveate dicom push DIR URL [OPTIONS]")
def push(folder: Folder, url: Url, /, *, login: LoginOptions = NO_LOGIN) -> int:
    """Store DICOM results in an archive; objects that the archive already has are not stored again.

    Parameters
    ----------
    folder
        Folder that `foveate predict --dicom` has written.
    url
        Address of the archive's DICOMweb service, such as http://host:8042/dicom-web.
    """
    login.require_consistent()
    _require_dicom()
    from foveate.cli.dicom import push

    return push(folder, url, login)


@dicom.command(usage="Usage: foveate dicom watch URL --out DIR [OPTIONS]")
def watch(url: Url, /, *, options: WatchOptions) -> int:
    """Process new photographs as they arrive in an archive, and store the results there, until interrupted.

    Parameters
    ----------
    url
        Address of the archive's DICOMweb service, such as http://host:8042/dicom-web.
    """
    options.require_consistent()
    _require_dicom()
    from foveate.cli.dicom import watch

    return watch(url, options)


@dicom.command(usage="Usage: foveate dicom key FILE")
def key(file: OutputFile, /) -> int:
    """Make a secret for results without the patient's identity, in a new file that only you can read.

    Parameters
    ----------
    file
        File to write, for `foveate predict --deidentify`; it must not exist yet. Keep it secret: whoever has
        it can tell which UID replaced which.
    """
    from foveate.cli.dicom_key import make_key

    return make_key(file)


@app.command
def train(recipe: RecipeName, /, *, training: TrainingOptions, options: TrainOptions) -> None:
    """Train a network by a recipe, stage by stage; --resume continues a run that was interrupted.

    The stages are the paper's (global, local, fusion, joint) and, in recipes that have it, refine.
    Under torchrun the same command trains in several processes, on several GPUs or machines.

    Parameters
    ----------
    recipe
        Name of a recipe, such as idrid; docs/recipes.md lists all.
    """
    _require_torch()
    from foveate.cli.train import train

    train(recipe, training, options)


@app.command
def release(recipe: RecipeName, /, *, options: ReleaseOptions) -> None:
    """Validate a finished training run on the photographs held back, calibrate it, and write a model package.

    Parameters
    ----------
    recipe
        Name of the recipe that was trained.
    """
    _require_torch()
    from foveate.cli.train import release

    release(recipe, options)


@app.command
def average(recipe: RecipeName, /, *, options: AverageOptions) -> None:
    """Write a run whose weights are the mean of those of several runs, for `foveate release`.

    The runs hold back the same fold, and began with the same trained streams.

    Parameters
    ----------
    recipe
        Name of the recipe that was trained.
    """
    _require_torch()
    from foveate.cli.train import average

    average(recipe, options)


@app.command
def programme(recipe: RecipeName, /, *, training: TrainingOptions, options: CrossValidationOptions) -> None:
    """Make a model: train with each fold held back, then on all photographs, and write a model package.

    Finished work in --out is reused: after an interruption the same command repeats at most two minutes.

    Parameters
    ----------
    recipe
        Name of a recipe, such as idrid; docs/recipes.md lists all.
    """
    _require_torch()
    from foveate.cli.train import cross_validate

    cross_validate(recipe, training, options)


@app.command
def compare(recipe: RecipeName, /, *, training: TrainingOptions, options: CompareOptions) -> None:
    """Train GlobalNet alone, LocalNet alone and both fused, and compare them as in the paper's Table 1.

    After its pre-training, each stream alone is trained for as many steps as the joint stage takes; this also
    holds with --minutes.

    Parameters
    ----------
    recipe
        Name of a recipe, such as idrid; docs/recipes.md lists all.
    """
    _require_torch()
    from foveate.cli.compare import compare

    compare(recipe, training, options)


@app.command
def serve(*, options: ServeOptions = DEFAULT_SERVER) -> None:
    """Serve a web page for viewing photographs and results, and an HTTP API."""
    require_extra("serve", "the server", "fastapi", "uvicorn")
    from foveate.cli.serve import serve

    serve(options)


def _require_torch() -> None:
    require_extra("train", "training", "torch")


def _require_dicom() -> None:
    require_extra("dicom", "a DICOM archive", "pydicom", "highdicom", "dicomweb_client")
