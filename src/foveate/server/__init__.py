"""Foveate as a service: a page to look with, and an HTTP API below it.

Knows:   requests, jobs, who may ask for what, and what is kept on the disk.
Ignores: how lesions are found and how results are written; that is done by the calls that the command line makes.

`app.create` makes the application, `serving.serve` runs it. docs/http-api.md is what it promises, docs/serve.md
how it is run, and decision 0014 why it is built so.
"""
