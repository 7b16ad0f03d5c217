"""Where the files of sandboxes are: one interface, a directory of ours or any S3 service behind it.

Clients ask the operations of ``resources/sandboxes.py`` for signed URLs, and send and fetch the files
themselves.  A file is known by its sandbox's name (SEPFN), whatever that looks like.
"""
