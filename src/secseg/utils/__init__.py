"""Helpers without a room of their own: config, errors, files, parallel work, resizing."""
