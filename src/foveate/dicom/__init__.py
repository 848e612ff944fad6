"""Fetch photographs from a DICOM archive, and store results there.

Knows:   DICOMweb; an object that the archive already holds is never stored again.
Ignores: how lesions are segmented. Needs the extra `dicom`.

`connection` queries, fetches and stores; `transfer` pulls photographs into a folder and pushes results from
one; `watch` processes photographs as they arrive.
"""
