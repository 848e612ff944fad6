"""A DICOM archive: photographs out of it, results into it.

Knows:   that it speaks DICOMweb, and that what is in it already is never stored again.
Ignores: how lesions are found. Needs the extra `dicom`.

`connection` asks, fetches and stores; `transfer` pulls photographs into a folder and pushes results; `watch`
does both as photographs come, with the model between.
"""
