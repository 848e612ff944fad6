"""Exports: downloads and reports of what a server holds.

Knows:   which files a download consists of.
Ignores: HTTP.
"""
