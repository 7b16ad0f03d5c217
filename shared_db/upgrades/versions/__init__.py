"""The revisions, one module each; a module that was released is never changed."""
