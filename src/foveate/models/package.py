"""A model package on disk: a folder, or a zip of one, checked before it is used.

Knows:   which files a package holds, where the shipped packages are stored, and that every digest must match.
Ignores: what is in the graphs and weights, and what runs them.
"""

import hashlib
import shutil
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from types import MappingProxyType

from foveate import atomic_files
from foveate.choices import ReducedEffort
from foveate.errors import PackageError
from foveate.models import training_statement
from foveate.models.file_names import FILES, MANIFEST
from foveate.models.manifest import Manifest, TrainingData, decode, encode
from foveate.models.training_statement import TrainingStatement
from foveate.paths import display_path, file_digest, is_file, is_folder, missing
from foveate.types import Decision, ModelContract, SelectionRule

DEFAULT = "idrid"
"""The package that is used if none is named."""

COPY_AGAIN = "export the package again, or copy it again"
"""What to do about a damaged folder."""

LARGEST_FILE = 1 << 30
"""Bytes that a file of a zip may unpack to: forty times the largest shipped package, to refuse zip bombs."""


@dataclass(frozen=True, kw_only=True, slots=True, weakref_slot=True)
class Package:
    """A model package whose files are all present and unaltered."""

    folder: Path
    """Folder of its files; for a zip, a temporary folder that is deleted together with this object."""
    manifest: Manifest
    """What it states about itself. Keys that Foveate does not know are only in its file (`MANIFEST`)."""
    digest: str
    """SHA-256 of manifest.json, which holds all other digests: it identifies the package exactly."""
    files: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Name -> SHA-256 of each file that the manifest lists; empty for a package without files."""

    @property
    def name(self) -> str:
        """Return the name that `--model` takes."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """Return the version of the weights."""
        return self.manifest.version

    @property
    def contract(self) -> ModelContract:
        """Return the input that the network was trained on and needs."""
        return self.manifest.contract

    @property
    def decisions(self) -> Mapping[str, Decision]:
        """Return lesion -> how its map becomes regions."""
        return self.manifest.decisions

    @property
    def selection_rules(self) -> Mapping[ReducedEffort, SelectionRule]:
        """Return effort -> the windows that LocalNet processes; empty if the package has no such rules."""
        return self.manifest.selection_rules

    @property
    def training(self) -> TrainingStatement:
        """Return what it states about its training and its scores."""
        return training_statement.read(self.manifest.training)


def shipped() -> tuple[str, ...]:
    """Return the names of the packages that come with Foveate, sorted."""
    return tuple(sorted(path.parent.name for path in _shipped_folder().glob(f"*/{MANIFEST}")))


def unsaved_package(
    name: str, contract: ModelContract, decisions: Mapping[str, Decision] | None = None
) -> Package:
    """Return a package without files, for a network that is still in training.

    Args:
        name: name of the recipe.
        contract: what maps depend on.
        decisions: how each lesion's map becomes regions; if None, by a threshold of 0.5.
    """
    halves = {lesion: Decision(threshold=0.5, minimum_area=1) for lesion in contract.lesions}
    manifest = Manifest(
        name=name,
        version="in training",
        licence="",
        intended_use="",
        contract=contract,
        decisions=halves if decisions is None else decisions,
        data=TrainingData(name="", licence="", attribution=""),
        training={},
    )
    return Package(folder=Path(), manifest=manifest, digest="")


def load(where: str | Path = DEFAULT) -> Package:
    """Open a model package and check every file of it.

    The name of a shipped package means that package; any other value is a path.

    Args:
        where: name of a shipped package, a package's folder, or a zip of one.

    Raises:
        PackageError: there is no such package, its manifest is invalid, or a file is missing or altered.
    """
    if isinstance(where, str) and where in shipped():
        return _open(_shipped_folder() / where, "reinstall Foveate")
    path = Path(where)
    if is_folder(path):
        return _open(path, COPY_AGAIN)
    if is_file(path):
        return _open_zip(path)
    names = ", ".join(shipped()) or "none"
    raise PackageError(
        f"{display_path(where)}: {missing(path, 'model package')}, or give a folder, a zip, or the name of a "
        f"shipped one ({names})"
    )


def unpack(where: str | Path, folder: Path) -> str | Path:
    """Return a model that other processes can open: of a zip, its files in `folder`; any other as it is.

    The caller removes the folder. A process that opens the zip itself, and is killed, leaves the files that
    it has unpacked.

    Args:
        where: name of a shipped package, a package's folder, or a zip of one.
        folder: folder for the files of a zip; it does not exist yet.

    Raises:
        PackageError: the zip is no whole package, or cannot be unpacked; no folder is left.
    """
    path = Path(where)
    if (isinstance(where, str) and where in shipped()) or not is_file(path):
        return where
    _open_unpacked(path, folder)
    return folder


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json, with the digests of all other files, into a package's folder. The write is atomic.

    Raises:
        PackageError: a file that every package holds is missing, or a value is out of range.
        OutputError: the manifest cannot be written.
    """
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise PackageError(
            f"{display_path(folder)}: {' and '.join(missing)} missing; write every file before the manifest"
        )
    paths = (path for path in folder.glob("[!.]*") if path.name != MANIFEST and path.is_file())
    text = encode(manifest, {path.name: file_digest(path) for path in paths})
    atomic_files.write_file(folder / MANIFEST, text)


def with_present_files(package: Package, training: Mapping[str, object] = MappingProxyType({})) -> Package:
    """Name all files that are in a package's folder by now in its manifest, and open the package again.

    Args:
        package: its manifest is replaced.
        training: what is added to the manifest's statement of the training.

    Raises:
        PackageError: the manifest cannot be read, or is invalid; or a file that every package holds is
            missing.
        OutputError: the manifest cannot be written.
    """
    manifest = _read(package.folder, COPY_AGAIN).manifest
    write_manifest(package.folder, replace(manifest, training={**manifest.training, **training}))
    return load(package.folder)


def _shipped_folder() -> Path:
    """Return the folder of the shipped packages, on disk: ONNX Runtime opens weights by their path."""
    return Path(str(resources.files("foveate.models"))) / "shipped"


def _open(folder: Path, remedy: str) -> Package:
    """Check a package's folder and open it; `remedy` ends each error message."""
    package = _read(folder, remedy)
    _require_whole(package, remedy)
    return package


def _read(folder: Path, remedy: str) -> Package:
    """Return the package that a folder's manifest describes; its other files are not checked."""
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except OSError as error:
        raise PackageError(f"{display_path(path)}: cannot be read ({error.strerror}); {remedy}") from None
    manifest, digests = decode(text, display_path(path))
    return Package(folder=folder, manifest=manifest, digest=hashlib.sha256(text).hexdigest(), files=digests)


def _require_whole(package: Package, remedy: str) -> None:
    """Raise PackageError for the first file that is not named, is missing, or has another digest."""
    for name in FILES:
        if name not in package.files:
            path = package.folder / MANIFEST
            raise PackageError(f"{display_path(path)}: 'files' does not list {name}; {remedy}")
    for name, expected in package.files.items():
        path = package.folder / name
        try:
            digest = file_digest(path)
        except OSError as error:
            raise PackageError(f"{display_path(path)}: cannot be read ({error.strerror}); {remedy}") from None
        if digest != expected:
            raise PackageError(
                f"{display_path(path)}: was altered (its SHA-256 is {digest[:12]}..., but "
                f"{expected[:12]}... in the manifest); {remedy}"
            )


def _open_zip(path: Path) -> Package:
    """Unpack a zip to a temporary folder and open that; the folder is deleted together with the package."""
    folder = Path(tempfile.mkdtemp(prefix="foveate-"))
    package = _open_unpacked(path, folder)
    weakref.finalize(package, shutil.rmtree, folder, ignore_errors=True)
    return package


def _open_unpacked(path: Path, folder: Path) -> Package:
    """Unpack a zip to a folder, which is created if it is missing, and open that.

    Raises:
        PackageError: the zip is no whole package, or cannot be unpacked; no folder is left.
    """
    try:
        _unpack(path, folder)
        return _open(folder, f"zip {display_path(path)} again from a complete package")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _unpack(path: Path, folder: Path) -> None:
    """Copy the manifest and the files it names out of a zip.

    They are at the zip's root or all in one folder. Paths in the zip are not trusted: each file is read by a
    plain name from the manifest, so that nothing can be written elsewhere.
    """
    try:
        folder.mkdir(exist_ok=True)
        with zipfile.ZipFile(path) as archive:
            tops = [name.removesuffix(MANIFEST) for name in archive.namelist() if name.endswith(MANIFEST)]
            tops = [top for top in tops if top == "" or (top.count("/") == 1 and top.endswith("/"))]
            if len(tops) != 1:
                raise PackageError(
                    f"{display_path(path)}: the zip contains {len(tops)} files {MANIFEST}, not one; zip the "
                    "folder of one package"
                )
            _, digests = decode(_member(archive, tops[0] + MANIFEST), display_path(path / MANIFEST))
            for name in (MANIFEST, *digests):
                if tops[0] + name not in archive.namelist():
                    raise PackageError(
                        f"{display_path(path)}: {name} is missing from the zip; zip the whole folder again"
                    )
                (folder / name).write_bytes(_member(archive, tops[0] + name))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise PackageError(
            f"{display_path(path)}: cannot be read as a zip ({error}); give a folder, or zip it again"
        ) from None
    except OSError as error:
        raise PackageError(
            f"{display_path(path)}: cannot be unpacked ({error.strerror}); free some space, or give the "
            "unpacked folder"
        ) from None


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return one file of a zip, unless it is encrypted or larger than any package."""
    entry = archive.getinfo(name)
    if entry.flag_bits & 1:
        raise PackageError(
            f"{display_path(archive.filename or '')}: {name} is encrypted; zip it without a password"
        )
    if entry.file_size > LARGEST_FILE:
        raise PackageError(
            f"{display_path(archive.filename or '')}: {name} would unpack to {entry.file_size:,} bytes, "
            f"more than {LARGEST_FILE:,}; zip it again"
        )
    return archive.read(entry)
