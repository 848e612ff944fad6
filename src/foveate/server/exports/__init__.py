"""Exports: downloads, reports and tables of what a server holds.

Knows:   which files a download consists of, and what a report says.
Ignores: HTTP.
"""
