"""Storage: the database, the data folder, and the tiles of photographs and maps.

Knows:   what is stored on the disk, and how it is read again.
Ignores: HTTP and processes.
"""
