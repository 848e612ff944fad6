"""A model package on disk: a folder, or a zip of one, checked before it is used.

Knows:   which files a package holds, where the shipped ones lie, and that every digest must be right.
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

from foveate.errors import PackageError
from foveate.models.manifest import Manifest, decode, encode, record
from foveate.types import Contract, Decision, Effort, Gaze

DEFAULT = "idrid-half"
"""The package that is used where none is named."""

MANIFEST = "manifest.json"
"""Names all others, with their digests."""

FILES = ("global.onnx", "local.onnx", "weights.safetensors", "example.npz")
"""What every package holds beside its manifest: two graphs, their weights, an input with its output."""

LARGEST = 1 << 30
"""Bytes that a zip may unpack to: forty times the largest package that is shipped, and no bomb."""


@dataclass(frozen=True, kw_only=True, slots=True, weakref_slot=True)
class Package:
    """A model package whose files were all found whole."""

    folder: Path
    """Where its files lie; for a zip a temporary folder that goes when the package does."""
    name: str
    """As `--model` takes it."""
    version: str
    """Of the weights."""
    contract: Contract
    """What the network must be fed."""
    decisions: Mapping[str, Decision]
    """How each lesion's map becomes regions."""
    digest: str
    """SHA-256 of manifest.json, which holds all other digests: names the package to the last bit."""
    manifest: Mapping[str, object]
    """manifest.json as it stands."""
    gazes: Mapping[Effort, Gaze] = field(default_factory=lambda: MappingProxyType({}))
    """Where LocalNet looks at less than full effort; none where the package does not say."""


def shipped() -> tuple[str, ...]:
    """Return the names of the packages that come with Foveate, sorted."""
    return tuple(sorted(path.parent.name for path in _shelf().glob(f"*/{MANIFEST}")))


def unwritten(name: str, contract: Contract) -> Package:
    """Return a package that is not written yet, for a network that is still in training.

    Its contract is what counts for maps; its thresholds are all 0.5.
    """
    return Package(
        folder=Path(),
        name=name,
        version="in training",
        contract=contract,
        decisions={lesion: Decision(threshold=0.5, minimum_area=1) for lesion in contract.lesions},
        digest="",
        manifest={},
    )


def load(where: str | Path = DEFAULT) -> Package:
    """Open a model package and check every file of it.

    A text that is a shipped package's name means that package; everything else is a path.

    Args:
        where: name of a shipped package, a package's folder, or a zip of one.

    Raises:
        PackageError: there is no such package; its manifest is wrong; a file is missing or altered.
    """
    if isinstance(where, str) and where in shipped():
        return _open(_shelf() / where, "reinstall Foveate")
    path = Path(where)
    if path.is_dir():
        return _open(path, "export the package again, or copy it again")
    if path.is_file():
        return _open_zip(path)
    known = ", ".join(shipped()) or "none"
    raise PackageError(
        f"{where}: no such model package; give a folder, a zip, or one that is shipped ({known})"
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json for a folder that holds a package's other files: computes their digests. Atomic.

    Raises:
        PackageError: a file that every package holds is missing, or a value is out of its range.
    """
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise PackageError(f"{folder}: {', '.join(missing)} missing; write every file before the manifest")
    others = (path for path in folder.glob("[!.]*") if path.name != MANIFEST and path.is_file())
    text = encode(manifest, {path.name: _digest(path) for path in others})
    draft = folder / f".{MANIFEST}.part"
    draft.write_bytes(text)
    draft.replace(folder / MANIFEST)


def with_gazes(package: Package, gazes: Mapping[Effort, Gaze]) -> Package:
    """Write into a package's manifest where LocalNet looks at less than full effort, and open it again.

    Everything else stays as it is; the package's digest changes with its manifest.

    Raises:
        PackageError: the manifest cannot be read or written anew.
    """
    manifest, _ = decode((package.folder / MANIFEST).read_bytes(), str(package.folder / MANIFEST))
    write_manifest(package.folder, replace(manifest, gazes=gazes))
    return load(package.folder)


def _shelf() -> Path:
    """Where the shipped packages lie: a real folder, since ONNX Runtime opens the weights by their path."""
    return Path(str(resources.files("foveate.models"))) / "shipped"


def _open(folder: Path, mend: str) -> Package:
    """Check a package's folder."""
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except OSError as error:
        raise PackageError(f"{path}: {error.strerror}; {mend}") from None
    manifest, digests = decode(text, str(path))
    _require_whole(folder, digests, mend)
    return Package(
        folder=folder,
        name=manifest.name,
        version=manifest.version,
        contract=manifest.contract,
        decisions=manifest.decisions,
        digest=hashlib.sha256(text).hexdigest(),
        manifest=MappingProxyType(record(text, str(path))),
        gazes=manifest.gazes,
    )


def _require_whole(folder: Path, digests: Mapping[str, str], mend: str) -> None:
    """Raise PackageError for the first file that is not named, missing, or not what its digest says."""
    for name in FILES:
        if name not in digests:
            raise PackageError(f"{folder / MANIFEST}: 'files' does not name {name}; {mend}")
    for name, wanted in digests.items():
        path = folder / name
        try:
            found = _digest(path)
        except OSError as error:
            raise PackageError(f"{path}: {error.strerror}; {mend}") from None
        if found != wanted:
            raise PackageError(
                f"{path}: altered: its SHA-256 is {found[:12]}..., the manifest says {wanted[:12]}...; {mend}"
            )


def _open_zip(path: Path) -> Package:
    """Unpack a zip to a temporary folder and check that; the folder goes when the package does."""
    folder = Path(tempfile.mkdtemp(prefix="foveate-"))
    try:
        _unpack(path, folder)
        package = _open(folder, f"zip {path} again from a whole package")
    except BaseException:
        shutil.rmtree(folder)
        raise
    weakref.finalize(package, shutil.rmtree, folder, ignore_errors=True)
    return package


def _unpack(path: Path, folder: Path) -> None:
    """Copy the manifest and the files it names out of a zip.

    They lie at the zip's root or all in one folder. No path is ever taken from the zip: each file is looked
    up by a plain name that the manifest gives, so that nothing can be written elsewhere.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            tops = [name.removesuffix(MANIFEST) for name in archive.namelist() if name.endswith(MANIFEST)]
            tops = [top for top in tops if top == "" or (top.count("/") == 1 and top.endswith("/"))]
            if len(tops) != 1:
                raise PackageError(f"{path}: {len(tops)} {MANIFEST} in the zip; zip one package's folder")
            _, digests = decode(_member(archive, tops[0] + MANIFEST), f"{path}/{MANIFEST}")
            for name in (MANIFEST, *digests):
                if tops[0] + name not in archive.namelist():
                    raise PackageError(f"{path}: {name} is missing in the zip; zip the whole folder again")
                (folder / name).write_bytes(_member(archive, tops[0] + name))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise PackageError(
            f"{path}: no zip that can be read ({error}); give a folder or zip it again"
        ) from None
    except OSError as error:
        raise PackageError(f"{path}: cannot be unpacked ({error.strerror})") from None


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return one file of a zip, unless it is encrypted or larger than any package."""
    entry = archive.getinfo(name)
    if entry.flag_bits & 1:
        raise PackageError(f"{archive.filename}: {name} is encrypted; zip it without a password")
    if entry.file_size > LARGEST:
        raise PackageError(
            f"{archive.filename}: {name} would unpack to {entry.file_size} bytes, over {LARGEST}"
        )
    return archive.read(entry)


def _digest(path: Path) -> str:
    """SHA-256 of a file as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
