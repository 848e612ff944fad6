"""Storage: the database, the data folder, and the tiles of photographs and maps.

Knows:   what is kept on the disk, and how it is found again.
Ignores: HTTP and processes.
"""
