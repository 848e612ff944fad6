"""The layouts of published sets, and access to layouts that a TOML file describes.

Knows:   folder names and file names of IDRiD, DDR, FGADR and e-ophtha.
Ignores: how the files of a set are listed.

| layout   | splits            | verified                                                                    |
|----------|-------------------|-----------------------------------------------------------------------------|
| idrid    | train, test       | train on the download itself; test by its published file names              |
| ddr      | train, valid, test | folder names and types of masks as in four public readers of the set       |
| fgadr    | train             | the same, from three readers; soft edges from one that counted the levels   |
| e-ophtha | train             | the same, from six readers and one listing of the files                     |

Only the training part of IDRiD was verified on the download; `foveate data check` reports whether your copy
matches its layout.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from foveate.datasets import descriptions
from foveate.datasets.folders import Folders, Layout, cases, list_split, present, warnings
from foveate.errors import DatasetError
from foveate.lesions import EX, HE, MA, SE

__all__ = [
    "DDR",
    "E_OPHTHA",
    "FGADR",
    "IDRID",
    "LAYOUTS",
    "Folders",
    "Layout",
    "cases",
    "list_split",
    "named",
    "present",
    "warnings",
]

FOUR_LESIONS = (EX, MA, HE, SE)
"""The lesions that IDRiD, DDR and FGADR were annotated for; any other lesion may be present or absent."""

CODES = tuple(lesion.code for lesion in FOUR_LESIONS)

_IDRID_MASKS = {
    MA.code: "1. Microaneurysms",
    HE.code: "2. Haemorrhages",
    EX.code: "3. Hard Exudates",
    SE.code: "4. Soft Exudates",
}

_FGADR_MASKS = {
    EX.code: "HardExudate_Masks",
    MA.code: "Microaneurysms_Masks",
    HE.code: "Hemohedge_Masks",  # the spelling of the release
    SE.code: "SoftExudate_Masks",
}


def _idrid(part: str) -> tuple[Folders, ...]:
    top = "A. Segmentation"
    truths = f"{top}/2. All Segmentation Groundtruths/{part}"
    return (
        Folders(
            photographs=f"{top}/1. Original Images/{part}/*",
            masks={code: (f"{truths}/{folder}/{{name}}_{code}",) for code, folder in _IDRID_MASKS.items()},
            annotated=CODES,
        ),
    )


def _ddr(part: str) -> tuple[Folders, ...]:
    """Return the folders of a part; the validation part names its folder of masks 'segmentation label'."""
    return (
        Folders(
            photographs=f"{part}/image/*",
            masks={
                code: (f"{part}/label/{code}/{{name}}", f"{part}/segmentation label/{code}/{{name}}")
                for code in CODES
            },
            annotated=CODES,
        ),
    )


def _e_ophtha(code: str, suffix: str) -> tuple[Folders, ...]:
    """Return the folders of the set of one lesion: eyes with it, and eyes without it ('healthy')."""
    top = f"e_optha_{code}"
    return (
        Folders(
            photographs=f"{top}/{code}/**/*",
            masks={code: (f"{top}/Annotation_{code}/{{folder}}/{{name}}{suffix}",)},
            annotated=(code,),
        ),
        Folders(photographs=f"{top}/healthy/**/*", masks={}, annotated=(code,)),
    )


IDRID = Layout(
    name="idrid",
    kinds=FOUR_LESIONS,
    splits={"train": _idrid("a. Training Set"), "test": _idrid("b. Testing Set")},
    roots=(".", "idrid"),
    title="IDRiD, segmentation part, training photographs",
    licence="CC-BY-4.0",
    attribution="Porwal P. et al., Indian Diabetic Retinopathy Image Dataset (IDRiD), Data 2018, 3(3), 25, "
    "doi:10.3390/data3030025",
)
"""IDRiD, 'A. Segmentation': 54 and 27 photographs; either part may be absent.

Source: Porwal et al. 2018, doi:10.3390/data3030025; CC BY 4.0.
"""

DDR = Layout(
    name="ddr",
    kinds=FOUR_LESIONS,
    splits={part: _ddr(part) for part in ("train", "valid", "test")},
    roots=(".", "lesion_segmentation", "DDR-dataset/lesion_segmentation"),
)
"""DDR, 'lesion_segmentation': 383, 149 and 225 photographs of 27 sizes; four grey masks each, many empty.

Source: Li et al. 2019, doi:10.1016/j.ins.2019.06.011.
"""

FGADR = Layout(
    name="fgadr",
    kinds=FOUR_LESIONS,
    splits={
        "train": (
            Folders(
                photographs="Original_Images/*",
                masks={code: (f"{folder}/{{name}}",) for code, folder in _FGADR_MASKS.items()},
                annotated=CODES,
            ),
        )
    },
    roots=(".", "Seg-set"),
    lesion_from=0.5,  # edges are smoothed (levels 1 to 254); half, as in other readers
)
"""FGADR, 'Seg-set': 1842 photographs of 1280 x 1280 px, one per person; released in one part.

Source: Zhou et al. 2021, doi:10.1109/TMI.2020.3037771; not for commercial use.
"""

E_OPHTHA = Layout(
    name="e-ophtha",
    kinds=(EX, MA),
    splits={"train": (*_e_ophtha("EX", "_EX"), *_e_ophtha("MA", ""))},
    eye=r"/(E\d+)/",  # one folder for each examination: both eyes of one person
)
"""e-ophtha: a set annotated for exudates, and one for microaneurysms (and small haemorrhages).

The sets are published unsplit. An eye that is 'healthy' in the set of exudates may have microaneurysms: the
same person is in both sets. So a lesion counts as absent only where it was annotated; `datasets.annotated`
leaves the other photographs out.

Source: Decencière et al. 2013, doi:10.1016/j.irbm.2013.01.010.
"""

LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {layout.name: layout for layout in (IDRID, DDR, FGADR, E_OPHTHA)}
)


def named(name: str) -> Layout:
    """Return a layout by its name, or the one that a TOML file describes (docs/data.md).

    Raises:
        DatasetError: there is no layout of that name, or the description is invalid.
    """
    if name in LAYOUTS:
        return LAYOUTS[name]
    if Path(name).suffix.lower() == ".toml":
        return descriptions.read(Path(name))
    raise DatasetError(
        f"layout {name!r} is unknown; choose one of {', '.join(LAYOUTS)}, or give a .toml file that "
        "describes one"
    )
