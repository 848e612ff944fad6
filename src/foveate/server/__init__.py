"""The server: a page to view photographs and results with, and the HTTP API that the page uses.

Knows:   requests, jobs, access, and what is kept on the disk.
Ignores: how lesions are found and results are written; the calls that the command line makes do that.

`app.create` builds the application, and `serving.serve` runs it. docs/http-api.md specifies the API, and
docs/serve.md explains how the server is run. Decision 0016 says why corrections are patches in a journal.
"""
